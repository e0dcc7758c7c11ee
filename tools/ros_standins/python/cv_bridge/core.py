# SPDX-License-Identifier: Apache-2.0
"""Image messages to and from NumPy arrays, upstream signatures."""

from __future__ import annotations

import array
import re
import sys

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

_NAMED = {
    "mono8": ("uint8", 1),
    "mono16": ("uint16", 1),
    "bgr8": ("uint8", 3),
    "rgb8": ("uint8", 3),
    "bgra8": ("uint8", 4),
    "rgba8": ("uint8", 4),
    "bgr16": ("uint16", 3),
    "rgb16": ("uint16", 3),
    "bayer_rggb8": ("uint8", 1),
    "bayer_bggr8": ("uint8", 1),
    "bayer_gbrg8": ("uint8", 1),
    "bayer_grbg8": ("uint8", 1),
}
_GENERIC = {
    "8U": "uint8",
    "8S": "int8",
    "16U": "uint16",
    "16S": "int16",
    "32S": "int32",
    "32F": "float32",
    "64F": "float64",
}
_CONVERSIONS = {
    ("rgb8", "bgr8"): cv2.COLOR_RGB2BGR,
    ("bgr8", "rgb8"): cv2.COLOR_BGR2RGB,
    ("mono8", "bgr8"): cv2.COLOR_GRAY2BGR,
    ("mono8", "rgb8"): cv2.COLOR_GRAY2RGB,
    ("bgr8", "mono8"): cv2.COLOR_BGR2GRAY,
    ("rgb8", "mono8"): cv2.COLOR_RGB2GRAY,
    ("bgra8", "bgr8"): cv2.COLOR_BGRA2BGR,
    ("rgba8", "bgr8"): cv2.COLOR_RGBA2BGR,
    ("bgra8", "rgb8"): cv2.COLOR_BGRA2RGB,
    ("rgba8", "rgb8"): cv2.COLOR_RGBA2RGB,
}


class CvBridgeError(TypeError):
    """An encoding is unknown or cannot be converted."""


class CvBridge:
    """Converts between image messages and arrays (H, W) or (H, W, channels)."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough", flip_channels: bool = False):
        """The image as an array; `passthrough` keeps its encoding and shares the message's memory."""
        dtype, channels = self.encoding_to_dtype_with_channels(img_msg.encoding)
        dtype = np.dtype(dtype).newbyteorder(">" if img_msg.is_bigendian else "<")
        strides = (img_msg.step, dtype.itemsize * channels, dtype.itemsize)
        shape = (img_msg.height, img_msg.width, channels)
        image = np.ndarray(shape=shape, dtype=dtype, buffer=img_msg.data, strides=strides)
        if channels == 1:
            image = image[:, :, 0]
        if bool(img_msg.is_bigendian) != (sys.byteorder == "big"):
            image = image.byteswap().view(image.dtype.newbyteorder())
        return _convert(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(self, cvim: np.ndarray, encoding: str = "passthrough", header=None) -> Image:
        """The message of an array; `encoding` is only checked against its type, nothing is converted."""
        if not isinstance(cvim, np.ndarray):
            raise TypeError("Your input type is not a numpy array")
        message = Image(height=cvim.shape[0], width=cvim.shape[1])
        if header is not None:
            message.header = header
        channels = 1 if cvim.ndim < 3 else cvim.shape[2]
        own = f"{_generic_name(cvim.dtype)}C{channels}"
        if encoding == "passthrough":
            message.encoding = own
        else:
            dtype, count = self.encoding_to_dtype_with_channels(encoding)
            if (np.dtype(dtype), count) != (cvim.dtype.newbyteorder("="), channels):
                raise CvBridgeError(f"encoding specified as {encoding}, but image has incompatible type {own}")
            message.encoding = encoding
        message.is_bigendian = cvim.dtype.byteorder == ">"
        data = array.array("B")
        data.frombytes(np.ascontiguousarray(cvim).tobytes())
        message.data = data
        message.step = len(message.data) // max(message.height, 1)
        return message

    def compressed_imgmsg_to_cv2(self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"):
        """The decoded image; `passthrough` gives what OpenCV decodes: BGR, or grey."""
        image = cv2.imdecode(np.frombuffer(cmprs_img_msg.data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise CvBridgeError("the data is not an image OpenCV can decode")
        own = "mono8" if image.ndim == 2 else {3: "bgr8", 4: "bgra8"}[image.shape[2]]
        return _convert(image, own, desired_encoding)

    def cv2_to_compressed_imgmsg(self, cvim: np.ndarray, dst_format: str = "jpg") -> CompressedImage:
        """The encoded message of a BGR or grey array."""
        if not isinstance(cvim, np.ndarray):
            raise TypeError("Your input type is not a numpy array")
        done, data = cv2.imencode("." + dst_format, cvim)
        if not done:
            raise CvBridgeError(f"OpenCV cannot encode {cvim.dtype} of shape {cvim.shape} as {dst_format}")
        return CompressedImage(format=dst_format, data=array.array("B", data.tobytes()))

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """The NumPy type and the number of channels of an encoding; raises CvBridgeError if unknown."""
        if encoding in _NAMED:
            return _NAMED[encoding]
        match = re.fullmatch(r"(8U|8S|16U|16S|32S|32F|64F)C?(\d*)", encoding)
        if match is None:
            raise CvBridgeError(f"Unrecognized image encoding [{encoding}]")
        return _GENERIC[match[1]], int(match[2] or 1)


def _generic_name(dtype: np.dtype) -> str:
    for name, kind in _GENERIC.items():
        if np.dtype(kind) == dtype.newbyteorder("="):
            return name
    raise CvBridgeError(f"images of type {dtype} are not supported")


def _convert(image: np.ndarray, own: str, desired: str) -> np.ndarray:
    if desired in ("passthrough", "", own):
        return image
    if (own, desired) not in _CONVERSIONS:
        raise CvBridgeError(f"[{own}] cannot be converted to [{desired}]")
    return cv2.cvtColor(image, _CONVERSIONS[own, desired])
