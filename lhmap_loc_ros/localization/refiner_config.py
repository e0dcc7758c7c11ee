# SPDX-License-Identifier: Apache-2.0
"""Settings of the refiner."""

from __future__ import annotations

import math
from enum import Enum

from pydantic import Field, model_validator

from ..configuration import Config
from ..errors import ModelError
from ..inference import WITH_TENSORS, Backend, Precision, check_choice


class Geometry(str, Enum):
    """Where the map is drawn and the pose solved."""

    AUTO = "auto"
    """On the networks' GPU where PyTorch finds it, else on the CPU."""
    CPU = "cpu"
    """Compiled by numba."""
    DEVICE = "device"
    """By PyTorch, on the device of the networks."""


class RefineMode(str, Enum):
    """How far a start pose may be off, and so what a refinement does."""

    NEAR = "near"
    """That of a track: passes at 1/4, up to `near_passes`."""
    PREDICTED = "predicted"
    """Near, and led there by odometry, which from one image to the next errs less than an image does: of a small
    correction more is the image's error than the pose's. So larger ones count as settled."""
    DOUBTFUL = "doubtful"
    """That of a track which the last image did not confirm: `doubtful_coarse_passes`, then `doubtful_fine_passes`. A
    robot on the move gets its pose in time, and the next image goes on from there."""
    ROUGH = "rough"
    """Up to metres and ten degrees: `coarse_passes` over the whole image, then `fine_passes`."""
    SEARCHED = "searched"
    """As rough; where image and map do not agree after that, new starts around it, several times as long."""

    @property
    def near(self) -> bool:
        """Within reach of passes at 1/4."""
        return self in (RefineMode.TRACK, RefineMode.TRACK_ODOMETRY)


class Weighting(str, Enum):
    """What the weight of a match comes from."""

    UNIFORM = "uniform"
    """All matches count the same."""
    UNCERTAINTY = "uncertainty"
    """The scale that the network predicts for each match."""
    HEAT = "heat"
    """The heat of the map point."""
    BOTH = "both"
    """The scale, smaller where the point is hot."""


class RefinerConfig(Config):
    """Settings of the `Refiner`."""

    model: str = Field("flow", description="name or path prefix of the networks: MODEL_image/_map/_coarse/_fine.onnx")
    threads: int = Field(0, ge=0, le=64, description="CPU threads of the networks; 0: one a core, at most 4")
    backend: Backend = Field(
        Backend.AUTO,
        description="onnxruntime, tensorrt, openvino, torch; auto: TensorRT where a GPU is, else ONNX Runtime",
    )
    precision: Precision = Field(
        Precision.AUTO,
        description="of convolutions: fp32; fp16 (tensorrt, onnxruntime); bf16 (openvino); int8 (onnxruntime "
        "and openvino, CPU); auto: int8 where it goes and MODEL has such files, else fp32",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:NUMBER")
    geometry: Geometry = Field(
        Geometry.AUTO,
        description="where the map is drawn and the pose solved: cpu; device: by PyTorch where the networks are, "
        "which may be a CPU; auto: there if it is a GPU and PyTorch knows it",
    )
    coarse_passes: int = Field(5, ge=1, le=8, description="at most so many refinements at 1/8 where the start is rough")
    fine_passes: int = Field(6, ge=1, le=8, description="at most so many refinements at 1/4 after them")
    near_passes: int = Field(3, ge=1, le=8, description="at most so many refinements at 1/4 where the start is near")
    doubtful_coarse_passes: int = Field(
        1, ge=0, le=8, description="at most so many refinements at 1/8 of a tracked pose that fitted badly"
    )
    doubtful_fine_passes: int = Field(2, ge=1, le=8, description="at most so many refinements at 1/4 after them")
    restarts_m: tuple[float, ...] = Field(
        (1.5, 3.0), description="search: how much nearer and further to begin anew without agreement [m]; []: no search"
    )
    restart_side_m: float = Field(1.2, ge=0.0, description="search: how far beside the start to begin anew [m]")
    restart_turn_deg: float = Field(6.0, ge=0.0, le=90.0, description="search: and turned there by how much [deg]")
    restart_coarse_passes: int = Field(2, ge=0, le=8, description="at most so many refinements at 1/8 of a new start")
    restarts_kept: int = Field(3, ge=1, description="new starts that go on after those and one refinement at 1/4")
    restart_reach_m: float = Field(
        4.0, gt=0.0, description="search: at this distance from the start an inlier ratio counts for 0.61 of it [m]"
    )
    restart_gain: float = Field(1.0, ge=1.0, description="factor on the inlier ratio that makes a new start the better")
    restart_least: float = Field(0.08, ge=0.0, le=1.0, description="inlier ratio that a new start must lead to")
    agreement: float = Field(0.3, ge=0.0, le=1.0, description="inlier ratio above which no search goes on")
    settled_m: float = Field(0.03, ge=0.0, description="a correction below this and settled_deg ends a stage [m]")
    settled_deg: float = Field(0.05, ge=0.0, description="a correction below this and settled_m ends a stage [deg]")
    near_settled_m: float = Field(0.05, ge=0.0, description="as settled_m for images after the first [m]")
    near_settled_deg: float = Field(0.2, ge=0.0, description="as settled_deg for images after the first [deg]")
    predicted_settled_m: float = Field(
        0.08, ge=0.0, description="as near_settled_m where odometry predicted the start [m]"
    )
    predicted_settled_deg: float = Field(
        0.3, ge=0.0, description="as near_settled_deg where odometry predicted the start [deg]"
    )
    splat_m: float | None = Field(
        None, ge=0.0, le=2.0, description="width of a map point when drawn [m]; null: by the density around it"
    )
    max_depth_m: float = Field(80.0, gt=1.0, description="map points further away are not drawn [m]")
    coarse_weighting: Weighting = Field(
        Weighting.BOTH, description="what the weight of a match at 1/8 comes from: uniform, uncertainty, heat, both"
    )
    fine_weighting: Weighting = Field(Weighting.UNCERTAINTY, description="and that of a match at 1/4")
    block_px: int = Field(
        32, ge=0, le=256, multiple_of=8,
        description="matches in the same square of so many pixels count no more than one alone; 0: each counts",
    )  # fmt: skip
    border_cells: int = Field(1, ge=0, le=8, description="cells along the image's border that are not matched")
    min_matches: int = Field(30, ge=6, description="fewer matched map points than this give no pose")
    prior_sigma_m: float = Field(2.0, gt=0.0, description="weak prior around the start position [m]")
    prior_sigma_deg: float = Field(10.0, gt=0.0, description="weak prior around the start orientation [deg]")

    @property
    def prior(self) -> tuple[float, float]:
        """Standard deviations of the weak prior: metres, radians."""
        return self.prior_sigma_m, math.radians(self.prior_sigma_deg)

    @model_validator(mode="after")
    def _backend_precision_and_device_go_together(self):
        try:
            check_choice(self.backend, self.precision, self.device)
            if self.geometry is Geometry.DEVICE and self.backend not in WITH_TENSORS:
                with_tensors = ", ".join(backend.value for backend in WITH_TENSORS)
                raise ModelError(
                    f"geometry device does not go with backend {self.backend.value}, expected {with_tensors}"
                )
        except ModelError as error:
            raise ValueError(str(error)) from None
        return self
