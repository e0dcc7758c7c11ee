# SPDX-License-Identifier: Apache-2.0
"""Camera calibrations in files: of ROS camera_calibration, a printed CameraInfo, and the camera chain of Kalibr."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ..configuration import parse_yaml, read_text
from ..errors import InputError
from ..geometry import Calibration
from .decoding import decode_calibration

_log = logging.getLogger(__name__)
_DISTORTION = re.compile(r"dist(?!.*model)\w*", re.IGNORECASE)
"""Names of the coefficients: distortion_coefficients, dist_coeffs."""
SUFFIXES = (".yaml", ".yml")


def read_calibration(path, topic: str = "") -> Calibration:
    """The calibration of a YAML file; raises InputError for another file.

    Of a Kalibr chain it is that of the camera of an image `topic`, else the first, told where there are several. The
    path may be a URL (file://), as drivers take it.
    """
    path = Path(str(path).removeprefix("file://")).expanduser()
    # of OpenCV's own kind of YAML; and what `ros2 topic echo` prints ends with the beginning of another
    text = re.sub(r"^%YAML\S*[^\n]*\n(---[^\n]*\n)?", "", read_text(path).lstrip("\ufeff")).replace(
        "!!opencv-matrix", ""
    )
    values = parse_yaml(re.sub(r"\n---\s*$", "", text), path)
    cameras = [part for name, part in values.items() if str(name).startswith("cam") and isinstance(part, dict)]
    cameras = [part for part in cameras if "intrinsics" in part]
    of_topic = [part for part in cameras if topic and str(part.get("rostopic", "")).strip("/") == topic.strip("/")]
    if len(cameras) > 1 and not of_topic:
        _log.warning("%s: none of %d cameras is of rostopic %r: the first is taken", path, len(cameras), topic)
    camera = next(iter([*of_topic, *cameras]), None)
    try:
        if {"k", "K"} & set(values):
            return _of_message(values)
        return _of_ros(values) if "camera_matrix" in values else _of_kalibr(camera or values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path}: {type(error).__name__} {error} found, expected a calibration as ROS camera_calibration or "
            "Kalibr writes it"
        ) from None


def _of_ros(values: dict) -> Calibration:
    """Of ROS camera_calibration, or of OpenCV's sample programs, which name the fisheye model so."""
    model = (
        values.get("distortion_model")
        or values.get("camera_model")
        or ("fisheye" if values.get("fisheye_model") else "")
    )
    return Calibration(
        int(values["image_width"]),
        int(values["image_height"]),
        _numbers(values["camera_matrix"]).reshape(3, 3),
        _numbers(next((part for name, part in values.items() if _DISTORTION.fullmatch(str(name))), [])),
        str(model),
        _numbers(values.get("projection_matrix", [0.0] * 12)).reshape(3, 4),
    )


def _numbers(matrix: dict | list) -> np.ndarray:
    """The numbers, row by row, of a matrix with its data, or of a list, or one of rows."""
    return np.array(matrix["data"] if isinstance(matrix, dict) else matrix, float).ravel()


def _of_message(values: dict) -> Calibration:
    """Of what `ros2 topic echo --once` prints of a CameraInfo."""
    nothing = {"binning_x": 0, "binning_y": 0, "d": [], "p": [0.0] * 12, "distortion_model": "", "roi": {}}
    fields = {**nothing, **{str(name).lower(): value for name, value in values.items()}}
    region = {"x_offset": 0, "y_offset": 0, "width": 0, "height": 0, **fields.pop("roi")}
    return decode_calibration(SimpleNamespace(**fields, roi=SimpleNamespace(**region)))


def _of_kalibr(camera: dict) -> Calibration:
    if camera["camera_model"] != "pinhole":
        raise InputError(f"camera model {camera['camera_model']!r} found, expected pinhole")
    fx, fy, cx, cy = map(float, camera["intrinsics"])
    width, height = map(int, camera["resolution"])
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    distortion = np.array(camera.get("distortion_coeffs") or [], float)
    return Calibration(width, height, matrix, distortion, str(camera.get("distortion_model") or "none"))
