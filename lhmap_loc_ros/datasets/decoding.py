# SPDX-License-Identifier: Apache-2.0
"""ROS messages to arrays. Any object with the fields of the message will do: rosbags', rclpy's, ROS 1's."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from ..errors import BagError, InputError
from ..geometry import Calibration

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_TIME_FIELDS = (
    "time", "t", "timestamp", "time_offset", "offset_time", "timeoffset", "time_stamp", "time_offset_ns",
    "point_time_offset", "relative_time",
)  # fmt: skip
INTENSITY_FIELDS = (
    "intensity", "i", "reflectivity", "reflectance", "remission", "intensities", "signal", "amplitude"
)  # fmt: skip
"""In small letters, as all names of fields are taken."""
_COARSEST_NS = 10**6
"""Times that are rounded to more tell nothing of a sweep, as seconds since 1970 in float32."""
_SHORTEST_SWEEP_NS, _LONGEST_SWEEP_NS = 10**6, 2 * 10**9
UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_LEAP_SECONDS = 0, 37, -37, 18, -18
"""How far the clocks of TAI and GPS are from that of the stamp, or that from theirs."""

_COLOURS = {
    "rgb8": None,
    "bgr8": cv2.COLOR_BGR2RGB,
    "8uc3": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "8uc4": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8uc1": cv2.COLOR_GRAY2RGB,
    "mono16": cv2.COLOR_GRAY2RGB,
    "rgb16": None,
    "bgr16": cv2.COLOR_BGR2RGB,
    "16uc3": cv2.COLOR_BGR2RGB,
    "rgba16": cv2.COLOR_RGBA2RGB,
    "bgra16": cv2.COLOR_BGRA2RGB,
    "16uc4": cv2.COLOR_BGRA2RGB,
    # OpenCV names a Bayer pattern by its second row, ROS by its first
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
    "bayer_rggb16": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr16": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg16": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg16": cv2.COLOR_BayerGB2RGB,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
}
ENCODINGS = tuple(_COLOURS)
"""The encodings of raw images that are understood, in small letters."""
_CHANNELS = {
    **dict.fromkeys(("rgb8", "bgr8", "8uc3", "rgb16", "bgr16", "16uc3"), 3),
    **dict.fromkeys(("rgba8", "bgra8", "8uc4", "rgba16", "bgra16", "16uc4"), 4),
    **dict.fromkeys(("uyvy", "yuv422", "yuyv", "yuy2", "yuv422_yuy2"), 2),
}
"""How many values a pixel has; one in those that are not named."""
_TWELVE_BITS = 1 << 12
_ORIENTATION_TAG = 0x0112
_QUARTER_TURNS = {6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
"""EXIF orientations of cameras held upright."""


def decode_image(message) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a sensor_msgs/Image; raises BagError for an unknown encoding.

    Of 16 bits the upper eight are kept; of images that use no more than twelve of them, the upper eight of those.
    """
    encoding = message.encoding.strip().lower()
    if encoding not in ENCODINGS:
        raise BagError(f"image encoding {message.encoding!r} found, expected one of {', '.join(ENCODINGS)}")
    channels, item = _CHANNELS.get(encoding, 1), 2 if encoding.endswith("16") or encoding.startswith("16") else 1
    # the colours of these come after the grey rows, half as many
    height = message.height * 3 // 2 if encoding in ("nv12", "nv21") else message.height
    data = np.frombuffer(memoryview(message.data), np.uint8)
    row = message.width * channels * item
    # some drivers leave the step of the rows at 0
    step = message.step or row
    if step < row or len(data) < step * height:
        raise BagError(
            f"image of {message.width}x{message.height} {encoding} has {len(data)} bytes in rows of {message.step}, "
            f"expected {height} rows of at least {row}"
        )
    rows = np.ascontiguousarray(data[: step * height].reshape(height, step)[:, :row])
    if item == 2:
        rows = _eight_bits(rows.view(">u2" if message.is_bigendian else "<u2"))
    return _to_rgb(rows.reshape(height, message.width, channels), encoding)


def decode_compressed_image(message) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a sensor_msgs/CompressedImage; raises BagError if undecodable.

    A Bayer pattern that was compressed as it is, as the format tells (`bayer_rggb8; png compressed`), becomes colours.
    So does a JPEG whose EXIF part asks for a quarter turn: it is turned, and whether its calibration is of the turned
    image the sizes tell. Where they would not (half a turn, mirrored, a square) it is refused.
    """
    data = np.frombuffer(memoryview(message.data), np.uint8)
    turned = _exif_orientation(data[:65536].tobytes())
    if turned not in (1, *_QUARTER_TURNS):
        raise BagError(
            f"compressed image ({message.format!r}) has EXIF orientation {turned}, expected 1 or none: whether its "
            "calibration is of the turned image is not known"
        )
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if pixels is None:
        found = f"compressed image ({message.format!r}, {len(data)} bytes)"
        raise BagError(f"{found} cannot be decoded, expected JPEG or PNG")
    if turned in _QUARTER_TURNS:
        if pixels.shape[0] == pixels.shape[1]:
            raise BagError(f"square compressed image ({message.format!r}) has EXIF orientation {turned}, expected 1")
        pixels = cv2.rotate(pixels, _QUARTER_TURNS[turned])
    if pixels.dtype == np.uint16:
        pixels = _eight_bits(pixels)
    if pixels.dtype != np.uint8:
        raise BagError(f"compressed image ({message.format!r}) has pixels of {pixels.dtype}, expected 8 or 16 bits")
    if pixels.ndim == 3:
        return _to_rgb(pixels, {3: "bgr8", 4: "bgra8"}[pixels.shape[2]])
    encoding = message.format.split(";")[0].strip().lower()
    return _to_rgb(pixels[:, :, None], encoding if encoding.startswith("bayer_") else "mono8")


def _to_rgb(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """The colours of pixels (H, W, C) uint8, of an encoding in small letters; raises BagError."""
    code = _COLOURS.get(encoding, -1)
    if code == -1:
        raise BagError(f"image encoding {encoding!r} found, expected one of {', '.join(ENCODINGS)}")
    try:
        return pixels.copy() if code is None else cv2.cvtColor(pixels, code)
    except cv2.error as error:
        # no pixel at all, or half a pair of them
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise BagError(f"image of {size} {encoding} cannot be converted to rgb8: {error.err}") from None


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """The upper eight bits of those that an image of uint16 uses, 12 or 16."""
    shift = 4 if values.max(initial=0) < _TWELVE_BITS else 8
    return (values >> shift).astype(np.uint8)


def _exif_orientation(data: bytes) -> int:
    """How the EXIF part of a JPEG says it is turned (1: not at all); 1 where there is none."""
    start = data.find(b"Exif\0\0") + 6
    if not data.startswith(b"\xff\xd8") or start < 6:
        return 1
    try:
        order = {b"II": "<", b"MM": ">"}[data[start : start + 2]]
        entries = start + struct.unpack_from(f"{order}I", data, start + 4)[0]
        for k in range(struct.unpack_from(f"{order}H", data, entries)[0]):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", data, entries + 2 + 12 * k)
            if tag == _ORIENTATION_TAG:
                return value or 1
    except (KeyError, struct.error):
        pass
    return 1


def decode_calibration(message) -> Calibration:
    """The calibration of a sensor_msgs/CameraInfo."""

    def part(name):
        # ROS 1 writes the names in capitals
        return np.array(getattr(message, name) if hasattr(message, name) else getattr(message, name.upper()), float)

    roi = message.roi
    return Calibration(
        message.width,
        message.height,
        part("k").reshape(3, 3),
        part("d"),
        message.distortion_model,
        part("p").reshape(3, 4),
        (message.binning_x or 1, message.binning_y or 1),
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
    )


def decode_fix(message) -> tuple[np.ndarray, float | None]:
    """Latitude, longitude [deg] and altitude [m] (3,) of a sensor_msgs/NavSatFix, and the standard deviation of the
    horizontal position [m], None where it is not known.

    The altitude is 0 where it is not finite. Raises InputError for a message that tells no position.
    """
    if message.status.status < 0:
        raise InputError("the receiver had no fix (status -1)")
    geodetic = np.array([message.latitude, message.longitude, message.altitude], float)
    if not (np.isfinite(geodetic[:2]).all() and abs(geodetic[0]) <= 90 and abs(geodetic[1]) <= 180):
        raise InputError(f"latitude {geodetic[0]:g} and longitude {geodetic[1]:g} found, expected those of a place")
    if not np.isfinite(geodetic[2]):
        geodetic[2] = 0.0
    variances = np.array(message.position_covariance, float).reshape(3, 3).diagonal()[:2]
    known = message.position_covariance_type > 0 and np.isfinite(variances).all() and variances.max() > 0
    return geodetic, float(np.sqrt(variances.max())) if known else None


def decode_cloud(message) -> dict[str, np.ndarray]:
    """The fields of a sensor_msgs/PointCloud2 as flat arrays of all its points; raises BagError."""
    byte_order, fields = ">" if message.is_bigendian else "<", {}
    for field in message.fields:
        size = np.dtype(_TYPES.get(field.datatype, "u1")).itemsize * max(field.count, 1)
        # padding may be of any type; of two fields of one name the first counts
        if field.datatype in _TYPES and field.offset + size <= message.point_step:
            fields.setdefault(field.name.lower(), field)
    for name in "xyz":
        if name not in fields or fields[name].datatype not in (7, 8):
            found = ", ".join(f.name for f in message.fields) or "none"
            raise BagError(
                f"point cloud has fields {found} in points of {message.point_step} bytes; expected float x, y, z"
            )
    dtype = np.dtype(
        {
            "names": list(fields),
            "formats": [(byte_order + _TYPES[f.datatype], (f.count,) if f.count > 1 else ()) for f in fields.values()],
            "offsets": [f.offset for f in fields.values()],
            "itemsize": message.point_step,
        }
    )
    data = np.frombuffer(memoryview(message.data), np.uint8)
    row = message.width * message.point_step
    # some drivers leave the step of the rows at 0
    step = message.row_step or row
    if step < row or len(data) < step * message.height:
        raise BagError(
            f"point cloud of {message.height}x{message.width} points has {len(data)} bytes in rows of {step}, "
            f"expected {message.height} rows of at least {row}"
        )
    rows = data[: step * message.height].reshape(message.height, step)[:, :row]
    points = np.ascontiguousarray(rows).view(dtype).ravel()
    return {name: points[name] for name in fields}


def intensity_scale(intensity: np.ndarray) -> float | None:
    """The full scale of a sensor, told from one scan (N,): 1, 255 or 65535; None for a scan without echoes.

    It is the least of the three that holds all but one in a thousand of the positive values.
    """
    positive = intensity[intensity > 0]
    if not len(positive):
        return None
    top = np.quantile(positive, 0.999)
    return next((scale for scale in (1.0, 255.0) if top <= scale), 65535.0)


def intensity_field(fields: dict[str, np.ndarray]) -> np.ndarray | None:
    """The field that holds the strength of the echoes, (N,) float32, unscaled; None if there is none."""
    name = next((name for name in INTENSITY_FIELDS if name in fields), None)
    return None if name is None else np.nan_to_num(fields[name].astype(np.float32))


def time_field(fields: dict[str, np.ndarray]) -> str | None:
    """The field that tells when each point was measured; None if there is none."""
    return next((name for name in _TIME_FIELDS if name in fields), None)


def time_unit(values: np.ndarray, before: str | None = None) -> str | None:
    """The unit of the times (N,) of one sweep: s, ms, us or ns; None where their span fits none or there is no span.

    Integers are nanoseconds and floats seconds if that makes a sweep of 1 ms to 2 s; else it is the unit that makes one
    of 1 ms to 1 s, of which there is but one. The unit of sweeps `before` stays, unless this one would take more than
    2 s: they were but the ends of sweeps.
    """
    if not len(values) or not np.isfinite(values).all():
        return before
    # of the same sign and of the same clock, so that the difference is exact
    span = float(values.max() - values.min())
    if before is not None and span * UNITS_NS[before] <= _LONGEST_SWEEP_NS:
        return before
    usual = "ns" if values.dtype.kind in "ui" else "s"
    if _SHORTEST_SWEEP_NS <= span * UNITS_NS[usual] <= _LONGEST_SWEEP_NS:
        return usual
    return next((u for u, ns in UNITS_NS.items() if _SHORTEST_SWEEP_NS <= span * ns < 10**9), None)


def time_offsets_ns(
    fields: dict[str, np.ndarray], stamp_ns: int, keep: np.ndarray, unit: str | None = None
) -> np.ndarray | None:
    """When each point to `keep` (N,) bool was measured, (K,) int64 nanoseconds after the stamp; None if no field tells.

    The others, as the lost returns of an organised cloud, need not have any time. `unit` (s, ms, us, ns) is that of the
    field, None: told by `time_unit`. Times rounded to more than a millisecond are none. Times of up to 20 s are
    relative to the stamp. Others are of a clock: that of the stamp, or one that is whole leap seconds apart (TAI, GPS);
    else, as of one that began at power-on, the first point is taken to be measured at the stamp. Raises BagError where
    the result spans more than two seconds.
    """
    name = time_field(fields)
    if name is None or not keep.any():
        return None
    values = fields[name][keep]
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BagError(f"point cloud field {name!r} holds times that are not finite (point_times: ignore does without)")
    scale = UNITS_NS[unit or time_unit(values) or ("ns" if values.dtype.kind in "ui" else "s")]
    if values.dtype.kind == "f" and float(np.spacing(np.abs(values).max())) * scale > _COARSEST_NS:
        return None
    # what is whole is kept apart: float64 nanoseconds of today are some hundred off
    first = values[0].item() if values.dtype.kind in "ui" else float(np.floor(values[0]))
    rest = values.astype(np.int64) - first if values.dtype.kind in "ui" else values.astype(np.float64) - first
    since = np.round(rest * scale).astype(np.int64)
    low, high = int(since.min()), int(since.max())
    if high - low > _LONGEST_SWEEP_NS:
        raise BagError(
            f"point cloud field {name!r} ({values.dtype}) puts points between {(first * scale + low) / 1e9:g} and "
            f"{(first * scale + high) / 1e9:g} s, expected a sweep of at most 2 s (its unit: point_times)"
        )
    begin = int(first * scale)
    if max(abs(begin + low), abs(begin + high)) <= 10 * _LONGEST_SWEEP_NS:
        return since + begin
    return since + _to_clock(begin - stamp_ns, low, high)


def _to_clock(begin: int, low: int, high: int) -> int:
    """What is added to times of another clock: `begin` is how far it is from the stamp, the sweep `low` to `high`."""
    for leap_s in _LEAP_SECONDS:
        if max(abs(begin + low - leap_s * 10**9), abs(begin + high - leap_s * 10**9)) <= _LONGEST_SWEEP_NS:
            return begin - leap_s * 10**9
    return -low
