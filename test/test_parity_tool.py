# SPDX-License-Identifier: Apache-2.0
"""The tool that compares the poses of backends, on poses that are made up."""

from types import SimpleNamespace

import numpy as np
import pytest

from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.geometry import make_pose, perturb


@pytest.fixture
def tool(load_tool):
    return load_tool("parity")


POSES = [make_pose(np.eye(3), (x, 0, 0)) for x in (0.0, 10.0, 20.0)]
OFF_M = {"torch": 0.0, "onnxruntime": 0.001, "openvino": 0.002}


class FakeFrames:
    """Poses off by a distance for each backend; whole refinements by ten times that."""

    cases, truth, some = POSES, POSES, (0, 2)

    def one_iteration(self, refiner):
        return [perturb(pose, (0, 0, refiner.off_m), (0, 0, 0)) for pose in POSES]

    def whole(self, refiner, moved_m=0.0):
        return [perturb(POSES[k], (0, 0, 10 * refiner.off_m + moved_m), (0, 0, 0)) for k in self.some]


def fake_refiner(config, plan):
    if config.backend.value == "tensorrt":
        raise ModelError("no GPU")
    return SimpleNamespace(off_m=OFF_M[config.backend.value], networks=[SimpleNamespace(backend="what computes")])


def test_every_choice_has_a_row_or_a_reason(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool, "Refiner", fake_refiner)
    result = tool.compare(FakeFrames(), threads=1)
    rows = {row["choice"]: row for row in result["rows"]}
    assert list(rows) == [
        "torch fp32", "torch fp32, moved", "torch fp32, geometry too", "onnxruntime fp32", "onnxruntime fp16",
        "onnxruntime int8", "openvino fp32", "openvino bf16", "openvino int8",
    ]  # fmt: skip
    assert result["missing"] == {"tensorrt fp32": "no GPU", "tensorrt fp16": "no GPU"} and result["frames"] == 3
    assert result["whole_frames"] == 2 and rows["openvino bf16"]["truth"]["largest_mm"] == pytest.approx(20)
    assert rows["torch fp32"]["one_iteration"]["largest_mm"] == rows["torch fp32"]["whole"]["largest_mm"] == 0
    assert rows["torch fp32, moved"]["whole"]["median_mm"] == pytest.approx(1e-3)
    assert rows["openvino fp32"]["one_iteration"]["median_mm"] == pytest.approx(2)
    assert rows["openvino fp32"]["whole"]["largest_mm"] == pytest.approx(20)
    tool.show(result)
    printed = capsys.readouterr().out
    assert "openvino bf16" in printed and "tensorrt fp16: no GPU" in printed
