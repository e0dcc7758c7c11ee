# SPDX-License-Identifier: Apache-2.0
"""How a refinement goes, as one value: a schedule of iterations for each kind of start, and what a match weighs.

Measurement decided all of it (docs/tuning.md, "What is not a parameter"); other values are for measuring again.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, field_validator

from ..configuration import Config

COARSE_CELL, FINE_CELL = 8, 4
"""Cells of pixels that have a match: at 1/8 and at 1/4 of the networks' grid."""


class RefineMode(str, Enum):
    """How far a start pose may be off, and so what a refinement does: see `SCHEDULES`."""

    TRACK = "track"
    """That of a track at constant velocity."""
    TRACK_ODOMETRY = "track_odometry"
    """That of a track which odometry predicted. From one image to the next it errs less than an image does: of a small
    correction more is the image's error than the pose's, so larger ones count as converged."""
    RECOVER = "recover"
    """That of a track which the last image did not confirm. A robot on the move gets its pose in time, and the next
    image goes on from there."""
    WIDE = "wide"
    """Up to metres and ten degrees off."""
    MULTI_START = "multi_start"
    """As wide; where image and map do not agree after that, from hypotheses around it, several times as long."""

    @property
    def near(self) -> bool:
        """Within reach of iterations at 1/4, so that none at 1/8 come before them."""
        return SCHEDULES[self].coarse == 0


class Schedule(Config):
    """The iterations of a refinement: at 1/8 over the whole image, then at 1/4 around each point."""

    coarse: int = Field(ge=0, le=8, description="iterations at 1/8, at most")
    fine: int | None = Field(ge=1, le=8, description="iterations at 1/4 after them, at most; null: what is left")
    convergence_m: float = Field(ge=0.0, description="a smaller correction ends the iterations of a cell size [m]")
    convergence_deg: float = Field(ge=0.0, description="a smaller correction ends the iterations of a cell size [deg]")
    reach_m: float = Field(gt=0.0, description="how far iterations may lead: map points beyond it are not drawn [m]")
    reach_deg: float = Field(gt=0.0, description="how far iterations may turn the camera [deg]")
    covariance: Literal["near", "rough"] = Field(description="which calibration of the network's covariance holds")
    multi_start: bool = Field(False, description="without agreement the iterations begin anew from hypotheses")

    def within(self, max_iterations: int) -> Schedule:
        """With the fine iterations that a limit [iterations] leaves, where the schedule itself does not say."""
        left = max(1, max_iterations - self.coarse)
        return self if self.fine is not None else self.model_copy(update={"fine": left})

    @property
    def cells(self) -> list[int]:
        """Cell size of each iteration."""
        return [COARSE_CELL] * self.coarse + [FINE_CELL] * (self.fine or 0)

    @property
    def convergence(self) -> tuple[float, float]:
        """A correction below both ends the iterations of a cell size [m, deg]."""
        return self.convergence_m, self.convergence_deg


def _near(convergence_m: float, convergence_deg: float) -> Schedule:
    return Schedule(
        coarse=0, fine=None, convergence_m=convergence_m, convergence_deg=convergence_deg,
        reach_m=4.0, reach_deg=12.0, covariance="near",
    )  # fmt: skip


def _rough(
    coarse: int, fine: int | None, convergence_m: float = 0.05, convergence_deg: float = 0.2, multi_start: bool = False
) -> Schedule:  # fmt: skip
    return Schedule(
        coarse=coarse, fine=fine, convergence_m=convergence_m, convergence_deg=convergence_deg,
        reach_m=12.0, reach_deg=25.0, covariance="rough", multi_start=multi_start,
    )  # fmt: skip


SCHEDULES = MappingProxyType({
    RefineMode.TRACK: _near(0.05, 0.2),
    RefineMode.TRACK_ODOMETRY: _near(0.1, 0.4),
    RefineMode.RECOVER: _rough(1, None),
    RefineMode.WIDE: _rough(5, 6),
    RefineMode.MULTI_START: _rough(5, 6, 0.03, 0.05, multi_start=True),
})  # fmt: skip
"""Iterations and thresholds of each mode. Where measured: docs/tuning.md, "What is not a parameter"."""


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


class Geometry(str, Enum):
    """Where the map is drawn and the pose solved."""

    AUTO = "auto"
    """On the networks' GPU where PyTorch finds it, else on the CPU."""
    CPU = "cpu"
    """Compiled by numba."""
    DEVICE = "device"
    """By PyTorch, on the device of the networks."""


class RefinePlan(Config):
    """How a refinement goes."""

    schedules: dict[RefineMode, Schedule] = Field(dict(SCHEDULES), description="the iterations of each mode")
    coarse_weighting: Weighting = Field(Weighting.BOTH, description="what the weight of a match at 1/8 comes from")
    fine_weighting: Weighting = Field(Weighting.UNCERTAINTY, description="what the weight of a match at 1/4 comes from")
    block_px: int = Field(
        32, ge=0, le=256, multiple_of=COARSE_CELL,
        description="matches in the same square of so many pixels count no more than one alone; 0: each counts [px]",
    )  # fmt: skip
    geometry: Geometry = Field(Geometry.AUTO, description="where the map is drawn and the pose solved")

    @field_validator("schedules", mode="before")
    @classmethod
    def _the_others_stay(cls, given: Any) -> Any:
        """Modes and fields that are not given are as in `SCHEDULES`."""
        if not isinstance(given, dict):
            return given
        changed = {RefineMode(mode): schedule for mode, schedule in given.items()}
        whole = {
            mode: SCHEDULES[mode].model_dump() | schedule if isinstance(schedule, dict) else schedule
            for mode, schedule in changed.items()
        }
        return {**SCHEDULES, **whole}

    def adapted(self, modes: Sequence[RefineMode] = tuple(RefineMode), **changes: Any) -> RefinePlan:
        """The same with other fields of the schedules of some modes."""
        changed = {mode: self.schedules[mode].model_copy(update=changes) for mode in modes}
        return self.model_copy(update={"schedules": {**self.schedules, **changed}})

    def weighting(self, cell: int) -> Weighting:
        """Of the matches of an iteration."""
        return self.coarse_weighting if cell == COARSE_CELL else self.fine_weighting
