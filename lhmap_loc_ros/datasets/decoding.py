# SPDX-License-Identifier: Apache-2.0
"""ROS messages to arrays. Any object with the fields of the message will do: rosbags', rclpy's, ROS 1's."""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import BagError

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_TIME_FIELDS = ("time", "t", "timestamp", "time_offset", "offset_time", "timeOffset", "time_stamp")
_INTENSITY_FIELDS = ("intensity", "i", "reflectivity", "reflectance")
_LONGEST_SWEEP_NS = 2 * 10**9

_COLOURS = {
    "rgb8": None,
    "bgr8": cv2.COLOR_BGR2RGB,
    "8uc3": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8uc1": cv2.COLOR_GRAY2RGB,
    # OpenCV names a Bayer pattern by its second row, ROS by its first
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
}
_CHANNELS = {"rgb8": 3, "bgr8": 3, "8uc3": 3, "rgba8": 4, "bgra8": 4, "uyvy": 2, "yuv422": 2, "yuyv": 2,
             "yuv422_yuy2": 2}  # fmt: skip


def decode_image(message) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a sensor_msgs/Image; raises BagError for an unknown encoding."""
    encoding = message.encoding.lower()
    if encoding not in _COLOURS:
        raise BagError(f"image encoding {message.encoding!r} found, expected one of {', '.join(_COLOURS)}")
    channels = _CHANNELS.get(encoding, 1)
    data = np.frombuffer(memoryview(message.data), np.uint8)
    row = message.width * channels
    if message.step < row or len(data) < message.step * message.height:
        raise BagError(
            f"image of {message.width}x{message.height} {encoding} has {len(data)} bytes in rows of {message.step}, "
            f"expected {message.height} rows of at least {row}"
        )
    rows = data[: message.step * message.height].reshape(message.height, message.step)[:, :row]
    pixels = np.ascontiguousarray(rows).reshape(message.height, message.width, channels)
    code = _COLOURS[encoding]
    try:
        return pixels.copy() if code is None else cv2.cvtColor(pixels, code)
    except cv2.error as error:
        # no pixel at all, or half a pair of them
        size = f"{message.width}x{message.height}"
        raise BagError(f"image of {size} {encoding} cannot be converted to rgb8: {error.err}") from None


def decode_compressed_image(message) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a sensor_msgs/CompressedImage; raises BagError if undecodable."""
    data = np.frombuffer(memoryview(message.data), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if pixels is None:
        raise BagError(f"compressed image ({message.format!r}, {len(data)} bytes) cannot be decoded")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def decode_cloud(message) -> dict[str, np.ndarray]:
    """The fields of a sensor_msgs/PointCloud2 as flat arrays of all its points; raises BagError."""
    byte_order = ">" if message.is_bigendian else "<"
    fields = {f.name: f for f in message.fields}
    for name in "xyz":
        if name not in fields or fields[name].datatype not in (7, 8):
            raise BagError(f"point cloud has fields {', '.join(fields) or 'none'}; expected float x, y, z")
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
    name = next((name for name in _INTENSITY_FIELDS if name in fields), None)
    return None if name is None else np.nan_to_num(fields[name].astype(np.float32))


def time_offsets_ns(fields: dict[str, np.ndarray], stamp_ns: int, keep: np.ndarray) -> np.ndarray | None:
    """When each point to `keep` (N,) bool was measured, (K,) int64 nanoseconds after the stamp; None if no field tells.

    The others, as the lost returns of an organised cloud, need not have any time.
    Integers are nanoseconds, floats seconds; float64 above 1e14 are nanoseconds. What is larger than a year
    is absolute. Raises BagError where the result spans more than two seconds: then it is of another unit.
    """
    name = next((name for name in _TIME_FIELDS if name in fields), None)
    if name is None or not keep.any():
        return None
    values = fields[name][keep]
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BagError(f"point cloud field {name!r} holds times that are not finite")
    top = float(values.max())
    if values.dtype.kind == "f" and top < 1e14:
        whole = np.floor(values[0]) if top > 3e7 else 0.0
        offsets = np.round((values.astype(np.float64) - whole) * 1e9).astype(np.int64)
        if top > 3e7:
            offsets += int(whole) * 10**9 - stamp_ns
    else:
        offsets = values.astype(np.int64) - (stamp_ns if top > 3e16 else 0)
    low, high = int(offsets.min()), int(offsets.max())
    if high - low > _LONGEST_SWEEP_NS or max(-low, high) > 10 * _LONGEST_SWEEP_NS:
        raise BagError(
            f"point cloud field {name!r} ({values.dtype}) puts points between {low / 1e9:g} and {high / 1e9:g} s "
            "after the stamp of the scan, expected a sweep of at most 2 s"
        )
    return offsets
