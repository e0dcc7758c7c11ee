# SPDX-License-Identifier: Apache-2.0
"""What a map stores to find places by: a descriptor for each heading at places along its path; and the search in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from ..errors import InputError, MapFormatError
from ..lhmap import SectionData
from ..lhmap.sections import SectionReader, packed_head
from ..localization.search_area import Region
from .codes import Quantizer
from .virtual_poses import base_pose

if TYPE_CHECKING:
    from ..lhmap import LHMap

SECTION, VERSION = "places", 1
_TILE = np.dtype([("ix", "<i4"), ("iy", "<i4"), ("count", "<u4")])
_PLACE = np.dtype([("x", "<i4"), ("y", "<i4"), ("z", "<i4"), ("eye", "<i2"), ("yaw", "<u2")])
_CENTIMETRE, _TURN = 0.01, 2 * np.pi / 65536
APART_M, APART = 8.0, np.pi / 3
"""Views nearer to each other, and turned by less [rad], are of one place."""
NEIGHBOUR_SIGMA_M = 3.0
"""Places beside each other show much the same: what each says of an image counts for those around it as well, with a
weight that falls like this. So the error of one code counts for less."""
_NEIGHBOURS = 5
_LOOKED_AT = 4096
"""Of so many best views the peaks are made."""


@dataclass(frozen=True)
class Heading:
    """Where a camera may look."""

    yaw: float
    """[rad], map frame."""
    tolerance: float
    """[rad], to either side."""


@dataclass(frozen=True)
class Peak:
    """A view that looks more like the image than those around it."""

    place: int
    heading: int
    score: float
    """Dot product of the descriptors, or what is searched for peaks."""


@dataclass(frozen=True)
class PlaceDatabase:
    """Descriptors of map views; P places with H headings each."""

    describer: str
    """SHA-256 of the networks that made the descriptors."""
    quantizer: Quantizer
    spacing_m: float
    """Distance between places along the path."""
    positions: np.ndarray
    """(P, 3) float64, of base_link on the mapped path, map frame [m]."""
    eyes: np.ndarray
    """(P,) heights of the virtual camera over these positions [m]."""
    yaws: np.ndarray
    """(P,) of the first heading [rad]; the others follow evenly, counter-clockwise."""
    codes: np.ndarray
    """(P, H, bytes) uint8."""

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def headings(self) -> int:
        """How many each place has."""
        return self.codes.shape[1]

    def view_yaws(self) -> np.ndarray:
        """Where the views look (P, H) [rad], map frame."""
        return self.yaws[:, None] + np.arange(self.headings) * (2 * np.pi / self.headings)

    def scores(
        self, descriptor: np.ndarray, region: Region | None = None, heading: Heading | None = None
    ) -> np.ndarray:
        """How much each view (P, H) looks like the image with this descriptor; -inf outside of the region.

        Means of cosines over the views of the places around that look the same way, see NEIGHBOUR_SIGMA_M.
        """
        if descriptor.shape != (self.quantizer.dimension,):
            raise InputError(
                f"a descriptor of shape {descriptor.shape} found, the map's have {self.quantizer.dimension} components"
            )
        found = self.quantizer.dots(self.codes.reshape(-1, self.quantizer.bytes), descriptor)
        out = self._smoothed(found.reshape(-1, self.headings) / self._norms)
        if region is not None:
            out[np.hypot(*(self.positions[:, :2] - region.center).T) > region.radius_m] = -np.inf
        if heading is not None:
            out[np.abs(wrapped(self.view_yaws() - heading.yaw)) > heading.tolerance] = -np.inf
        return out

    def peaks(self, scores: np.ndarray, count: int) -> list[Peak]:
        """The best views by their scores (P, H), the best first, each the best of those around it.

        Around: see APART.
        """
        flat = scores.ravel()
        best = np.argpartition(-flat, _LOOKED_AT)[:_LOOKED_AT] if len(flat) > _LOOKED_AT else np.arange(len(flat))
        best = best[np.isfinite(flat[best])]
        best = best[np.argsort(-flat[best], kind="stable")]
        yaws = self.view_yaws().ravel()[best]
        where = self.positions[best // self.headings]
        out: list[Peak] = []
        left = np.ones(len(best), bool)
        while len(out) < count and left.any():
            first = int(np.argmax(left))
            out.append(Peak(*divmod(int(best[first]), self.headings), float(flat[best[first]])))
            near = np.linalg.norm(where - where[first], axis=1) < APART_M
            left &= ~(near & (np.abs(wrapped(yaws - yaws[first])) < APART))
        return out

    def nearest(self, positions: np.ndarray, yaws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The view nearest to each of some positions (N, 3) and viewing directions (N,) [rad].

        Returns its place (N,), its heading (N,) and how far its place is (N,) [m].
        """
        metres, place = self._tree.query(positions)
        turn = 2 * np.pi / self.headings
        heading = np.round((yaws - self.yaws[place]) / turn).astype(int) % self.headings
        return place, heading, metres

    def base_pose(self, peak: Peak, T_base_camera: np.ndarray, turned: float = 0.0) -> np.ndarray:
        """Pose (4, 4) T_map_base of the robot whose camera would see that view, turned by so much [rad]."""
        yaw = self.yaws[peak.place] + peak.heading * 2 * np.pi / self.headings + turned
        return base_pose(self.positions[peak.place], yaw, T_base_camera)

    def _smoothed(self, scores: np.ndarray) -> np.ndarray:
        """The means of scores (P, H) over neighbours."""
        if not len(scores):
            return scores
        places, headings, weights = self._neighbours
        return np.einsum("pn,pnh->ph", weights, scores[places[:, :, None], headings])

    @cached_property
    def _neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each place those nearest to it, itself the first (P, N), which of their headings look as its own do
        (P, N, H), and their weights (P, N), one in sum."""
        metres, places = self._tree.query(self.positions, np.arange(1, min(_NEIGHBOURS, len(self)) + 1))
        weights = np.exp(-0.5 * np.square(metres / NEIGHBOUR_SIGMA_M))
        turn = 2 * np.pi / self.headings
        shift = np.round((self.yaws[:, None] - self.yaws[places]) / turn).astype(np.int64)
        headings = (np.arange(self.headings) + shift[:, :, None]) % self.headings
        return places, headings, (weights / weights.sum(1, keepdims=True)).astype(np.float32)

    @cached_property
    def _norms(self) -> np.ndarray:
        return self.quantizer.norms(self.codes)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.positions)

    # -- as a section of the map's file

    def to_section(self, lhmap: LHMap) -> SectionData:
        """The database as bytes, by the map's tiles: what changes at one place changes no other tile's bytes."""
        meta = lhmap.metadata
        local = self.positions - meta.origin
        tiles = np.floor(local[:, :2] / meta.tile_m).astype(np.int64)
        order = np.lexsort((tiles[:, 0], tiles[:, 1]))
        parts = np.split(order, np.flatnonzero((np.diff(tiles[order], axis=0) != 0).any(axis=1)) + 1)
        parts = [part for part in parts if len(part)]
        index = np.array([(*tiles[part[0]].tolist(), len(part)) for part in parts], _TILE)
        records = np.zeros(len(self), _PLACE)
        for name, column in zip("xyz", np.round(local.T / _CENTIMETRE)):
            records[name] = column
        records["eye"] = np.round(self.eyes / _CENTIMETRE)
        records["yaw"] = np.round(self.yaws / _TURN).astype(np.int64) % 65536
        q = self.quantizer
        head = {
            "describer": self.describer, "dimension": q.dimension, "bits": q.bits, "step": q.step,
            "headings": self.headings, "spacing_m": self.spacing_m, "tiles": len(index),
        }  # fmt: skip
        body = b"".join(records[part].tobytes() + self.codes[part].tobytes() for part in parts)
        return SectionData(SECTION, VERSION, packed_head(head) + index.tobytes() + body)

    @classmethod
    def of(cls, lhmap: LHMap, describer: str | None = None) -> PlaceDatabase | None:
        """That of a map; None if it has none.

        Raises MapFormatError if it is damaged, of an unknown version, or made by other networks than those with the
        SHA-256 `describer`.
        """
        out = lhmap.parsed_section(SECTION, VERSION, lambda data: _parse(data, np.array(lhmap.metadata.origin)))
        if out is None:
            return None
        if describer is not None and out.describer != describer:
            raise MapFormatError(
                f"{lhmap.path}: places described by networks {out.describer[:12]} found, expected {describer[:12]}: "
                "lhmap places MAP describes them anew"
            )
        return out


def _parse(data: bytes, origin: np.ndarray) -> PlaceDatabase:
    reader = SectionReader(data)
    head = reader.head
    quantizer = Quantizer(int(head["dimension"]), int(head["bits"]), float(head["step"]))
    headings = int(head["headings"])
    if headings < 1:
        raise ValueError(f"{headings} headings found")
    records, codes = [np.zeros(0, _PLACE)], [np.zeros((0, headings, quantizer.bytes), np.uint8)]
    for count in reader.array("tiles", _TILE, (int(head["tiles"]),))["count"].tolist():
        records.append(reader.array("places", _PLACE, (count,)))
        codes.append(reader.array("codes", np.uint8, (count, headings, quantizer.bytes)))
    reader.check_end()
    places = np.concatenate(records)
    positions = np.column_stack([places[name] for name in "xyz"]) * _CENTIMETRE + origin
    return PlaceDatabase(
        str(head["describer"]), quantizer, float(head["spacing_m"]), positions,
        places["eye"] * _CENTIMETRE, places["yaw"] * _TURN, np.concatenate(codes),
    )  # fmt: skip


def wrapped(angle: np.ndarray) -> np.ndarray:
    """Angles [rad] between -pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def between_headings(scores: np.ndarray, best: int) -> float:
    """How far beside heading `best` the top of the parabola through the scores (H,) around it lies [rad]."""
    before, here, after = scores[best - 1], scores[best], scores[(best + 1) % len(scores)]
    bend = before - 2 * here + after
    if not np.isfinite(bend) or bend >= 0:
        return 0.0
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) * 2 * np.pi / len(scores)
