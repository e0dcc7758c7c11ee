# SPDX-License-Identifier: Apache-2.0
"""Images and point times of many makers come out as the same arrays, or are refused in one line."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from lhmap_loc_ros.datasets.decoding import (
    decode_cloud,
    decode_compressed_image,
    decode_image,
    intensity_field,
    time_offsets_ns,
    time_unit,
)
from lhmap_loc_ros.errors import BagError

STAMP = 1_700_000_000_123_456_789
SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (16, 24, 3), np.uint8), (0, 0), 4)
SMOOTH = np.clip((SMOOTH.astype(int) - 90) * 3, 0, 255).astype(np.uint8)


def raw(encoding, rows, width=24, height=16, step=None, big=False):
    data = np.ascontiguousarray(rows)
    step = data.nbytes // len(data) if step is None else step
    return SimpleNamespace(
        encoding=encoding, width=width, height=height, step=step, is_bigendian=big, data=data.tobytes()
    )


def compressed(form, data):
    return SimpleNamespace(format=form, data=bytes(data))


def mosaic(rgb):
    """RGGB: red at even rows and columns."""
    out = rgb[..., 1].copy()
    out[::2, ::2], out[1::2, 1::2] = rgb[::2, ::2, 0], rgb[1::2, 1::2, 2]
    return out


def is_nearly(found, expected, most=25):
    assert found.dtype == np.uint8 and found.shape == expected.shape
    assert np.abs(found[2:-2, 2:-2].astype(int) - expected[2:-2, 2:-2]).mean() < most


@pytest.mark.parametrize("big", (False, True))
def test_sixteen_bits_keep_their_upper_eight(big):
    grey = SMOOTH[..., 0]
    order = ">u2" if big else "<u2"
    expected = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_image(raw("mono16", (grey.astype(int) << 8).astype(order), big=big)), expected)
    # twelve bits in sixteen
    np.testing.assert_array_equal(decode_image(raw("mono16", (grey.astype(int) << 4).astype(order), big=big)), expected)
    bayer = (mosaic(SMOOTH).astype(int) << 8).astype(order)
    is_nearly(decode_image(raw("bayer_rggb16", bayer, big=big)), SMOOTH)


@pytest.mark.parametrize("big", (False, True))
@pytest.mark.parametrize("encoding", ("rgb16", "bgr16", "rgba16", "bgra16", "16UC3", "16UC4"))
def test_colours_of_sixteen_bits_keep_their_upper_eight(encoding, big):
    colours = SMOOTH if encoding.startswith("rgb") else SMOOTH[..., ::-1]
    if "a" in encoding or "4" in encoding:
        colours = np.dstack([colours, np.full((16, 24), 255, np.uint8)])
    wide = (colours.astype(int) << 8).astype(">u2" if big else "<u2")
    np.testing.assert_array_equal(decode_image(raw(encoding, wide, big=big)), SMOOTH)


@pytest.mark.parametrize("encoding", ("nv12", "nv21"))
def test_colours_after_the_grey_rows(encoding):
    yuv = cv2.cvtColor(SMOOTH, cv2.COLOR_RGB2YUV_I420)
    u, v = yuv[16:24].reshape(2, 8 * 12)
    colours = np.stack((u, v) if encoding == "nv12" else (v, u), axis=1).reshape(8, 24)
    is_nearly(decode_image(raw(encoding, np.vstack([yuv[:16], colours]))), SMOOTH)


def test_four_channels_and_rows_whose_step_is_not_told():
    bgra = np.dstack([SMOOTH[..., ::-1], np.zeros((16, 24), np.uint8)])
    np.testing.assert_array_equal(decode_image(raw("8UC4", bgra)), SMOOTH)
    np.testing.assert_array_equal(decode_image(raw("rgb8", SMOOTH, step=0)), SMOOTH)


def test_a_compressed_bayer_pattern_becomes_colours():
    png = cv2.imencode(".png", mosaic(SMOOTH))[1]
    is_nearly(decode_compressed_image(compressed("bayer_rggb8; png compressed ", png)), SMOOTH)
    assert (np.ptp(decode_compressed_image(compressed("mono8; png compressed", png)), axis=2) == 0).all()
    sixteen = cv2.imencode(".png", SMOOTH[..., 0].astype(np.uint16) << 8)[1]
    np.testing.assert_array_equal(
        decode_compressed_image(compressed("mono16; png compressed", sixteen))[..., 0], SMOOTH[..., 0]
    )
    with pytest.raises(BagError, match="bayer_xyz"):
        decode_compressed_image(compressed("bayer_xyz; png", png))


def turned_jpeg(orientation):
    jpeg = cv2.imencode(".jpg", SMOOTH[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize("orientation, quarters", [(6, -1), (8, 1)])
def test_a_jpeg_that_asks_for_a_quarter_turn_is_turned(orientation, quarters):
    found = decode_compressed_image(compressed("jpeg", turned_jpeg(orientation)))
    is_nearly(found, np.rot90(SMOOTH, quarters), 3)


def test_a_jpeg_that_asks_to_be_turned_as_no_size_tells_is_refused():
    is_nearly(decode_compressed_image(compressed("jpeg", turned_jpeg(1))), SMOOTH, 3)
    with pytest.raises(BagError, match="EXIF orientation 3, expected 1"):
        decode_compressed_image(compressed("jpeg", turned_jpeg(3)))


# --- times of points --------------------------------------------------------------------------------------------

SWEEP_S = np.linspace(0, 0.1, 50)


def offsets(values, **options):
    return time_offsets_ns({"t": values}, STAMP, np.ones(len(values), bool), **options)


@pytest.mark.parametrize(
    "scale, kind", [(1, "f4"), (1e3, "f4"), (1e6, "f4"), (1e9, "f8"), (1e3, "u1"), (1e6, "u4"), (1e9, "i8")]
)
def test_the_unit_is_told_from_the_length_of_a_sweep(scale, kind):
    values = (SWEEP_S * scale).round(0 if kind[0] in "ui" else 9).astype(kind)
    step = 1e9 / scale if kind == "u1" else 1000
    np.testing.assert_allclose(offsets(values), SWEEP_S * 1e9, atol=step)


def test_the_unit_of_a_topic_is_not_that_of_the_end_of_a_sweep_which_came_first():
    whole, end = np.linspace(0, 99_000_000, 50).astype(np.uint32), np.linspace(0, 900_000, 5).astype(np.uint32)
    first = time_unit(end)
    assert first == "us" and time_unit(whole, first) == "ns" and time_unit(end, "ns") == "ns"


def test_times_that_are_rounded_to_minutes_are_none():
    assert offsets((STAMP / 1e9 + SWEEP_S).astype(np.float32)) is None


@pytest.mark.parametrize("scale", (1e6, 1e9))
@pytest.mark.parametrize("late_s", (0, 37, 18))
def test_absolute_times_are_of_the_clock_of_the_stamp_or_leap_seconds_apart(scale, late_s):
    begin = (STAMP + late_s * 10**9) // round(1e9 / scale)
    values = begin + (SWEEP_S * scale).astype(np.int64)
    np.testing.assert_allclose(offsets(values), SWEEP_S * 1e9, atol=2001)


def test_times_since_power_on_begin_at_the_stamp():
    np.testing.assert_allclose(offsets(5000 + SWEEP_S), SWEEP_S * 1e9, atol=1000)
    np.testing.assert_allclose(offsets((5e9 + SWEEP_S * 1e6).astype(np.uint64)), SWEEP_S * 1e9, atol=1000)


def test_a_unit_that_is_set_counts():
    np.testing.assert_array_equal(offsets(np.array([0, 500], np.uint32), unit="us"), [0, 500_000])
    assert offsets(np.array([0, 500], np.uint32), unit="ns")[1] == 500
    with pytest.raises(BagError, match="sweep of at most 2 s.*point_times"):
        offsets(np.array([0, 5000], np.uint32), unit="ms")


# --- fields of clouds --------------------------------------------------------------------------------------------


def cloud(fields, step):
    """One point whose bytes are 1.0, 2.0, 3.0, 4.0 as float32; fields: (name, offset, datatype)."""
    fields = [SimpleNamespace(name=name, offset=offset, datatype=kind, count=1) for name, offset, kind in fields]
    data = np.arange(1, 5, dtype="<f4").view(np.uint8)
    return SimpleNamespace(
        fields=fields, is_bigendian=False, width=1, height=1, point_step=step, row_step=step, data=data[:step]
    )


XYZ = [("X", 0, 7), ("Y", 4, 7), ("Z", 8, 7)]


@pytest.mark.parametrize("name", ["Intensity", "REFLECTIVITY", "remission", "signal"])
def test_fields_are_known_by_their_names_in_any_letters(name):
    found = decode_cloud(cloud([*XYZ, (name, 12, 7)], 16))
    assert (found["x"], found["z"], intensity_field(found)) == (1, 3, 4)


def test_padding_of_any_type_and_a_name_that_comes_twice_do_no_harm():
    found = decode_cloud(cloud([*XYZ, ("pad", 12, 0), ("x", 12, 7), ("behind", 16, 7)], 16))
    assert set(found) == {"x", "y", "z"} and found["x"] == 1


@pytest.mark.parametrize("step", [0, 8])
def test_points_that_have_no_room_for_their_fields_are_refused(step):
    with pytest.raises(BagError, match=f"fields X, Y, Z in points of {step} bytes"):
        decode_cloud(cloud(XYZ, step))
