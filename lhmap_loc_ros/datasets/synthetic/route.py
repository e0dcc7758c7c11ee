# SPDX-License-Identifier: Apache-2.0
"""The street's centre line, the terrain under it, and lanes to drive on."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Terrain:
    """Gently rolling ground: height in metres as a sum of long waves."""

    waves: np.ndarray  # (n, 4): amplitude [m], kx [rad/m], ky [rad/m], phase [rad]

    @staticmethod
    def generate(rng: np.random.Generator) -> "Terrain":
        """Draw waves of 70 to 250 m with slopes of at most a few percent."""
        length = rng.uniform(70, 250, 4)
        angle = rng.uniform(0, 2 * np.pi, 4)
        slope = rng.uniform(0.0, 0.012, 4)
        k = 2 * np.pi / length
        phase = rng.uniform(0, 2 * np.pi, 4)
        return Terrain(np.stack([slope / k, k * np.cos(angle), k * np.sin(angle), phase], 1))

    def height(self, x, y) -> np.ndarray:
        """Ground height at map coordinates; zero at the origin."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        total = np.zeros(np.broadcast(x, y).shape)
        for a, kx, ky, phase in self.waves:
            total = total + a * (np.sin(kx * x + ky * y + phase) - np.sin(phase))
        return total

    def gradient(self, x, y) -> np.ndarray:
        """Slope (dz/dx, dz/dy), shape (..., 2)."""
        gx, gy = 0.0, 0.0
        for a, kx, ky, phase in self.waves:
            c = a * np.cos(kx * x + ky * y + phase)
            gx, gy = gx + c * kx, gy + c * ky
        return np.stack([gx + 0 * x, gy + 0 * x], -1)


@dataclass(frozen=True)
class CentreLine:
    """Straight pieces and arcs. Stations s run from `start` to `end` metres."""

    pieces: np.ndarray  # (n, 5): s0, x0, y0, heading [rad], curvature [1/m, left positive]
    start: float
    end: float

    @staticmethod
    def generate(
        rng: np.random.Generator, length: float, before: float, after: float, corner_radius: float
    ) -> "CentreLine":
        """Draw a street that never meets itself: headings stay within a quarter turn of +x."""
        pieces, s, x, y, heading = [], -before, -before, 0.0, 0.0
        straight = before + rng.uniform(25, 80)
        while True:
            for span, curvature in _next_bend(rng, straight, heading, corner_radius):
                pieces.append((s, x, y, heading, curvature))
                x, y, heading = _advance(x, y, heading, curvature, span)
                s += span
            if s > length + after:
                return CentreLine(np.array(pieces), -before, length + after)
            straight = rng.uniform(35, 95) + (30 if abs(heading) < 0.1 else 0)

    def at(self, s) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """x, y, heading and curvature at stations s (any shape)."""
        s = np.asarray(s, float)
        i = np.clip(np.searchsorted(self.pieces[:, 0], s, side="right") - 1, 0, len(self.pieces) - 1)
        s0, x0, y0, h0, k = np.moveaxis(self.pieces[i], -1, 0)
        x, y, h = _advance(x0, y0, h0, k, s - s0)
        return x, y, h, k

    def offset(self, s, d) -> tuple[np.ndarray, np.ndarray]:
        """Map x, y of the point at station s, d metres to the left."""
        x, y, h, _ = self.at(s)
        return x - np.sin(h) * d, y + np.cos(h) * d


def _next_bend(rng, straight, heading, corner_radius):
    """A straight followed by a corner or a slow curve: list of (span, curvature)."""
    quarter = np.pi / 2
    kind = rng.random()
    if kind < 0.6:
        radius = corner_radius + rng.uniform(0, 12)
        turn = quarter if heading < -0.1 else -quarter if heading > 0.1 else rng.choice([-1, 1]) * quarter
        turn = np.clip(heading + turn, -quarter, quarter) - heading
    else:
        radius = rng.uniform(60, 200)
        turn = np.clip(heading + rng.uniform(-0.6, 0.6), -quarter, quarter) - heading
    if abs(turn) < 0.05:
        return [(straight, 0.0)]
    return [(straight, 0.0), (radius * abs(turn), np.sign(turn) / radius)]


def _advance(x, y, heading, curvature, span):
    """Follow an arc (or a straight line) for `span` metres."""
    turn = curvature * span
    # sinc form: exact for arcs and smooth towards zero curvature
    chord = span * np.sinc(turn / (2 * np.pi))
    return x + chord * np.cos(heading + turn / 2), y + chord * np.sin(heading + turn / 2), heading + turn


@dataclass(frozen=True)
class Path:
    """A way to drive: the centre line shifted sideways by a slowly varying offset.

    `s` is the station on the centre line, metres, 0 to `length`.
    """

    line: CentreLine
    terrain: Terrain
    lateral: float  # mean offset to the left of the centre line [m]
    waves: np.ndarray  # (n, 3): amplitude [m], wave number [rad/m], phase [rad] of the wander
    length: float
    reverse: bool = False
    lift: np.ndarray | None = None  # (n, 2): station [m] and height above the road there [m]; None: on the road

    def lateral_at(self, s: float) -> tuple[float, float]:
        """Offset to the left [m] and its derivative by s."""
        a, k, p = self.waves.T
        return float(self.lateral + (a * np.sin(k * s + p)).sum()), float((a * k * np.cos(k * s + p)).sum())

    def pose(self, s: float) -> np.ndarray:
        """T_map_base (4x4): base_link on the ground, x forward, y left, z along the ground normal."""
        station = self.length - s if self.reverse else s
        x, y, heading, curvature = self.line.at(station)
        d, slope = self.lateral_at(station)
        heading = heading + np.arctan2(slope, 1 - curvature * d)
        if self.reverse:
            heading += np.pi
        x, y = self.line.offset(station, d)
        gx, gy = self.terrain.gradient(x, y)
        up = np.array([-gx, -gy, 1.0])
        up /= np.linalg.norm(up)
        forward = np.array([np.cos(heading), np.sin(heading), gx * np.cos(heading) + gy * np.sin(heading)])
        forward /= np.linalg.norm(forward)
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2] = forward, np.cross(up, forward), up
        z = float(self.terrain.height(x, y))
        if self.lift is not None:
            z += float(np.interp(station, *self.lift.T))
        pose[:3, 3] = (x, y, z)
        return pose


def wander(rng: np.random.Generator, amplitude: float) -> np.ndarray:
    """Waves for `Path.waves`: a driver who does not keep the lane exactly, RMS about amplitude."""
    length = rng.uniform(25, 120, 3)
    a = amplitude * np.array([0.9, 0.7, 0.5]) * (length / 120) ** 0.5
    return np.stack([a, 2 * np.pi / length, rng.uniform(0, 2 * np.pi, 3)], 1)
