# SPDX-License-Identifier: Apache-2.0
"""Images from messages, as cv_bridge of Jazzy makes them."""

from __future__ import annotations

import re

import cv2
import numpy as np
from sensor_msgs.msg import Image

_DEPTHS = {"8U": "u1", "8S": "i1", "16U": "u2", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}
_CHANNELS = {"mono": 1, "bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4}
_TO_RGB = {
    "mono": cv2.COLOR_GRAY2RGB, "bgr": cv2.COLOR_BGR2RGB, "rgb": None, "bgra": cv2.COLOR_BGRA2RGB,
    "rgba": cv2.COLOR_RGBA2RGB, "yuv422": cv2.COLOR_YUV2RGB_UYVY, "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "bayer_rggb": cv2.COLOR_BayerBG2RGB, "bayer_bggr": cv2.COLOR_BayerRG2RGB, "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}  # fmt: skip


class CvBridgeError(TypeError):
    """An image cannot be converted."""


class CvBridge:
    """Converts messages to arrays."""

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """The type of a value and how many a pixel has."""
        if encoding in ("yuv422", "yuv422_yuy2"):
            return "uint8", 2
        if found := re.fullmatch(r"(mono|bgra?|rgba?|bayer_(?:rggb|bggr|gbrg|grbg))(8|16)", encoding):
            return f"uint{found[2]}", _CHANNELS.get(found[1], 1)
        if found := re.fullmatch(r"(8U|8S|16U|16S|32S|32F|64F)(?:C(\d+))?", encoding):
            return np.dtype(_DEPTHS[found[1]]).name, int(found[2] or 1)
        raise CvBridgeError(f"Unrecognized image encoding [{encoding}]")

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """The pixels (H, W) or (H, W, C), as they are or as `rgb8`; raises CvBridgeError for others."""
        name, channels = self.encoding_to_dtype_with_channels(img_msg.encoding)
        dtype = np.dtype(name).newbyteorder(">" if img_msg.is_bigendian else "<")
        row = img_msg.step // dtype.itemsize // channels
        pixels = np.ndarray((img_msg.height, row, channels), dtype, img_msg.data)[:, : img_msg.width]
        pixels = np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels).astype(name)
        if desired_encoding in ("passthrough", img_msg.encoding):
            return pixels
        colour = img_msg.encoding.removesuffix("16").removesuffix("8")
        if colour not in _TO_RGB or desired_encoding != "rgb8":
            raise CvBridgeError(
                f"[{img_msg.encoding}] is not a color format. but [{desired_encoding}] is. "
                "The conversion does not make sense"
            )
        if _TO_RGB[colour] is not None:
            pixels = cv2.cvtColor(pixels, _TO_RGB[colour])
        return pixels if pixels.dtype == np.uint8 else np.rint(pixels * (255 / 65535)).astype(np.uint8)
