# SPDX-License-Identifier: Apache-2.0
"""Calibrations in files, as the programs of others write them."""

import numpy as np
import pytest

from lhmap_loc_ros.datasets.calibration_files import read_calibration
from lhmap_loc_ros.errors import InputError

K = [90.0, 0, 80, 0, 90, 24, 0, 0, 1]
OPENCV = """{head}
image_width: 160
image_height: 48
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 90., 0., 80., 0., 90., 24., 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: {rows}
   cols: 1
   dt: d
   data: {data}
"""
PRINTED = """header:
  stamp: {sec: 1, nanosec: 0}
  frame_id: camera
height: 48
width: 160
distortion_model: plumb_bob
d: [0.1, 0, 0, 0, 0]
k: [90, 0, 80, 0, 90, 24, 0, 0, 1]
---
"""
ROWS = """image_width: 160
image_height: 48
camera_matrix: [[90, 0, 80], [0, 90, 24], [0, 0, 1]]
dist_coeffs: [[0.1, 0, 0, 0, 0]]
"""


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    "text",
    [
        OPENCV.format(head="%YAML:1.0\n---", rows=5, data=[0.1, 0, 0, 0, 0]),
        OPENCV.format(head="%YAML 1.2\n---", rows=5, data=[0.1, 0, 0, 0, 0]),
        PRINTED,
        PRINTED.replace("\n", "\r\n"),
        ROWS,
    ],
)
def test_files_of_opencv_of_ros2_topic_echo_and_with_rows(tmp_path, text, mark):
    (tmp_path / "c.yaml").write_bytes((mark + text).encode())
    found = read_calibration(tmp_path / "c.yaml")
    assert (found.width, found.height, found.matrix.ravel().tolist()) == (160, 48, K)
    np.testing.assert_array_equal(found.distortion, [0.1, 0, 0, 0, 0])
    assert found.rectifier().camera.fx == 90


def test_a_fisheye_of_opencvs_sample_program_is_one(tmp_path):
    text = OPENCV.format(head="%YAML:1.0\n---\nfisheye_model: 1", rows=4, data=[0.1, 0, 0, 0])
    (tmp_path / "c.yaml").write_text(text)
    assert read_calibration(tmp_path / "c.yaml").distortion_model == "fisheye"
    # four coefficients without a model could be of either
    (tmp_path / "c.yaml").write_text(text.replace("fisheye_model: 1", ""))
    with pytest.raises(InputError, match="unknown"):
        read_calibration(tmp_path / "c.yaml").rectifier()
