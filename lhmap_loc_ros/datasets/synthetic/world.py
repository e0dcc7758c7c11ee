# SPDX-License-Identifier: Apache-2.0
"""A procedural street and the sensors that look at it.

Frames: ``map`` has z up and its origin at the start of the route on the centre
line; cameras use the optical convention (x right, y down, z forward).
"""

from dataclasses import dataclass

import numpy as np

from lhmap_loc_ros.datasets.synthetic import shading, skylight
from lhmap_loc_ros.datasets.synthetic.build import Geometry, Street, build, town_stream
from lhmap_loc_ros.datasets.synthetic.caster import Caster
from lhmap_loc_ros.datasets.synthetic.light import Light
from lhmap_loc_ros.datasets.synthetic.route import Path, wander

MAX_LIDAR_RANGE = 120.0
MOVER_VIEW = 150.0  # moving cars farther away than this are left out [m]
KEEP_CLEAR = (12.0, 2.2)  # moving cars this close along and across would be run through; left out [m]


@dataclass(frozen=True)
class Course:
    """Where one can drive; cheap to make, because nothing is built beside the street."""

    seed: int
    length: float  # drivable metres along the centre line
    street: Street

    @staticmethod
    def generate(seed: int, length: float) -> "Course":
        """The course of ``World.generate(seed, length)``."""
        return Course(seed, length, Street.generate(town_stream(seed), length))

    @property
    def lanes(self) -> tuple[float, ...]:
        """Offsets (metres to the left of the centre line) of the lanes driven in the direction of the route."""
        style = self.street.style
        return tuple(-(k + 0.5) * style.lane_width for k in range(style.lanes))

    @property
    def half_road(self) -> float:
        """Metres from the centre line that belong to moving traffic, on each side."""
        return self.street.style.half_lanes

    def route(self, offset: float, wander_amplitude: float = 0.0, seed: int = 0, reverse: bool = False) -> Path:
        """A way along the street, ``offset`` metres to the left of its centre line.

        With ``wander_amplitude`` (metres) the driver swings around that offset.
        """
        waves = wander(np.random.default_rng([self.seed, 4, seed]), wander_amplitude)
        return Path(self.street.line, self.street.terrain, offset, waves, self.length, reverse)


@dataclass(frozen=True)
class World:
    """One street on one day. Make it with :meth:`generate`."""

    seed: int
    day: int
    length: float  # drivable metres along the centre line
    geometry: Geometry
    light: Light
    caster: Caster

    @staticmethod
    def generate(seed: int, length: float = 300.0, day: int = 0, character: str | None = None) -> "World":
        """Build a world. The same seed gives the same town; ``day`` changes light, cars and small things.

        ``character`` overrides what kind of town it is: one of ``layout.CHARACTERS``.
        """
        geometry = build(seed, length, day, character)
        light = Light.generate(np.random.default_rng([seed, 3, day]))
        return World(seed, day, length, geometry, light, Caster(geometry.fixed, geometry.templates))

    @property
    def course(self) -> "Course":
        """Lanes and ways along the street."""
        g = self.geometry
        return Course(self.seed, self.length, Street(g.line, g.terrain, g.style))

    @property
    def lanes(self) -> tuple[float, ...]:
        """See :attr:`Course.lanes`."""
        return self.course.lanes

    @property
    def half_road(self) -> float:
        """See :attr:`Course.half_road`."""
        return self.course.half_road

    def route(self, offset: float, wander_amplitude: float = 0.0, seed: int = 0, reverse: bool = False) -> Path:
        """See :meth:`Course.route`."""
        return self.course.route(offset, wander_amplitude, seed, reverse)

    def render_image(self, T_map_camera: np.ndarray, K, width: int, height: int, time: float = 0.0,
                     extra_samples: int = 2) -> np.ndarray:
        """Photograph the world: uint8 RGB (height, width, 3).

        ``T_map_camera``: 4x4, camera optical frame. ``K``: (fx, fy, cx, cy) in
        pixels, integer coordinates at pixel centres. ``time``: seconds, moves
        the traffic. ``extra_samples`` more rays go through pixels on edges.
        """
        T = np.asarray(T_map_camera, float)
        fx = K[0]
        pixels = _pixel_centres(width, height)
        movers = self._movers(T[:3, 3], time)
        light = self.light
        exposure_seed = (int(time * 1000) * 7919 + light.seed) % (1 << 31)
        view = self._look(T, K, pixels, movers)
        opened = self._sky_share(view, movers, width, exposure_seed)
        color = self._shade(view, movers, opened, 1.0 / fx)
        if extra_samples > 0:
            self._antialias(color, view[2], opened, T, K, pixels, movers, width, extra_samples)
        return shading.develop(color, width, height, 1.0, light.exposure, light.balance, light.contrast, light.noise,
                               light.vignette, exposure_seed)

    def depth_image(self, T_map_camera: np.ndarray, K, width: int, height: int, time: float = 0.0) -> np.ndarray:
        """Depth along the optical axis (height, width) float32 [m] of what `render_image` shows, inf for sky."""
        T = np.asarray(T_map_camera, float)
        pixels = _pixel_centres(width, height)
        _, directions, hits = self._look(T, K, pixels, self._movers(T[:3, 3], time))
        return (hits.range * (directions @ T[:3, 2].astype(np.float32))).reshape(height, width)

    def scan_rays(self, origins: np.ndarray, directions: np.ndarray, time) -> tuple[np.ndarray, np.ndarray]:
        """LiDAR returns of rays in the map frame.

        ``origins``, ``directions``: (n, 3), directions of unit length. ``time``:
        seconds, a number or (n,). Returns range (n,) float32 metres with inf
        for no return, and intensity (n,) float32 in [0, 1].
        """
        origins = np.ascontiguousarray(origins, np.float32)
        directions = np.ascontiguousarray(directions, np.float32)
        time = np.asarray(time, float)
        stamp = float(time.flat[0])
        ages = None if time.ndim == 0 else (time - stamp).astype(np.float32)
        hits = self.caster.cast(origins, directions, self._movers(origins[0].astype(float), stamp), ages)
        seed = (self.seed * 1009 + self.day * 9176 + int(stamp * 1e4)) % (1 << 31)
        g = self.geometry
        return shading.returns(directions, hits.range, hits.triangle, hits.bary, hits.normal, seed, g.uv, g.surface,
                               *self._tables(), MAX_LIDAR_RANGE)

    def _tables(self):
        g = self.geometry
        return g.kinds, g.rows, g.decals, g.decal_starts, g.decal_order, g.line.start

    def _movers(self, eye: np.ndarray, time: float):
        g = self.geometry
        movers = (v.at(time, g.line, g.terrain) for v in g.vehicles)
        return [m for m in movers if np.linalg.norm(m.pose[:3, 3] - eye) < MOVER_VIEW and not _in_the_way(m, eye)]

    def _look(self, T, K, pixels, movers):
        """Origins, directions and hits of the rays through ``pixels``."""
        origins, directions = shading.camera_rays(T, *map(float, K), pixels)
        return origins, directions, self.caster.cast(origins, directions, movers)

    def _shade(self, view, movers, opened, pixel_angle):
        """Linear colours (n, 3); ``opened`` (n,) is the share of the sky each hit sees."""
        origins, directions, hits = view
        lit = self._sun_share(origins, directions, hits, movers)
        g = self.geometry
        return shading.shade(directions, hits.range, hits.triangle, hits.bary, hits.normal, lit, opened, pixel_angle,
                              g.uv, g.surface, *self._tables(), self.light.pack())

    def _sun_share(self, origins, directions, hits, movers):
        """Share of the sun (n,) that reaches each hit."""
        sun = self.light.sun.astype(np.float32)
        start, index = shading.shadow_rays(origins, directions, hits.range, hits.triangle, hits.normal, sun)
        lit = np.zeros(len(hits.range), np.float32)
        towards = np.ascontiguousarray(np.broadcast_to(sun, start.shape))
        lit[index] = ~self.caster.occluded(start, towards, movers)
        return lit

    def _sky_share(self, view, movers, width, seed):
        """Share of the sky (n,) that each pixel's hit sees."""
        origins, directions, hits = view
        start, towards, pixel = skylight.sky_rays(directions, origins, hits.range, hits.triangle, hits.normal, width,
                                                  seed)
        seen = np.full(len(directions), np.nan, np.float32)
        seen[pixel] = ~self.caster.occluded(start, towards, movers)
        return skylight.spread(seen, hits.range, hits.triangle, hits.normal, width, 6)

    def _antialias(self, color, hits, opened, T, K, pixels, movers, width, samples):
        """Average more rays into the pixels where the surface changes, in place."""
        surface = np.where(hits.triangle >= 0, self.geometry.surface[hits.triangle], -1)
        index = shading.edges(surface, hits.range, width)
        if not len(index):
            return
        total = color[index].copy()
        for k in range(samples):
            angle = 2.4 * k + 0.6
            shift = 0.35 * np.array([np.cos(angle), np.sin(angle)], np.float32)
            view = self._look(T, K, pixels[index] + shift, movers)
            total += self._shade(view, movers, opened[index], 1.0 / K[0])
        color[index] = total / (1 + samples)


def _pixel_centres(width: int, height: int) -> np.ndarray:
    """Positions (height * width, 2) float32 of all pixels, row by row."""
    cols, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([cols.ravel(), rows.ravel()], 1)


def _in_the_way(mover, eye: np.ndarray) -> bool:
    """Whether the sensor at ``eye`` is just before, behind or inside a moving car."""
    x, y, _ = mover.pose[:3, :3].T @ (eye - mover.pose[:3, 3])
    return abs(x) < KEEP_CLEAR[0] and abs(y) < KEEP_CLEAR[1]
