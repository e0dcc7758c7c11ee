# SPDX-License-Identifier: Apache-2.0
"""A procedural street and the sensors that look at it.

Frames: ``map`` has z up and its origin at the start of the route on the centre
line; cameras use the optical convention (x right, y down, z forward).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import lamps, shading, skylight, wet
from .build import Geometry, Street, build
from .caster import Caster
from .course import Course
from .lens import Lens, Pinhole
from .light import Light
from .route import Path

MAX_LIDAR_RANGE = 120.0
RANGE_NOISE = 0.013  # standard deviation [m]
MOVER_VIEW = 150.0  # moving cars farther away than this are left out [m]
KEEP_CLEAR = (12.0, 2.2)  # moving cars this close along and across would be run through; left out [m]


@dataclass(frozen=True)
class World:
    """One street on one day. Make it with :meth:`generate`."""

    seed: int
    day: int
    length: float  # drivable metres along the centre line
    geometry: Geometry
    light: Light
    caster: Caster
    wet: bool = False  # whether the ground is
    character: str | None = None

    @staticmethod
    def generate(
        seed: int,
        length: float = 300.0,
        day: int = 0,
        character: str | None = None,
        light: str = "day",
        wet: bool = False,
    ) -> "World":
        """Build a world. The same seed gives the same town; ``day`` changes light, cars and small things.

        ``character`` overrides what kind of town it is: one of ``grounds.CHARACTERS``. ``light`` is one of
        ``light.LIGHTS``; ``wet`` tells whether the ground is.
        """
        geometry = build(seed, length, day, character)
        drawn = Light.generate(np.random.default_rng([seed, 3, day]), light)
        return World(seed, day, length, geometry, drawn, Caster(geometry.fixed, geometry.templates), wet, character)

    @property
    def course(self) -> "Course":
        """Lanes and ways along the street."""
        g = self.geometry
        return Course(self.seed, self.length, Street(g.line, g.terrain, g.style), self.character)

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

    def render_image(
        self, T_map_camera: np.ndarray, K, width: int, height: int, time: float = 0.0, extra_samples: int = 2
    ) -> np.ndarray:
        """Photograph the world: uint8 RGB (height, width, 3).

        ``T_map_camera``: 4x4, camera optical frame. ``K``: (fx, fy, cx, cy) in
        pixels, integer coordinates at pixel centres. ``time``: seconds, moves
        the traffic. ``extra_samples`` more rays go through pixels on edges.
        """
        return self.photograph(T_map_camera, Pinhole(tuple(K), width, height), time, extra_samples)

    def photograph(
        self,
        T_map_camera: np.ndarray,
        lens: Lens,
        time: float = 0.0,
        extra_samples: int = 2,
        headlights: np.ndarray | None = None,
    ) -> np.ndarray:
        """Photograph the world through any ``lens``: uint8 RGB (height, width, 3); see :meth:`render_image`.

        ``headlights``: rows of lamps (see `lamps`) that the robot itself brings; they are on when the street's are.
        """
        T = np.asarray(T_map_camera, float)
        movers = self._movers(T[:3, 3], time)
        light = self.light
        shine = self._lamps(T[:3, 3], movers, headlights)
        exposure_seed = (int(time * 1000) * 7919 + light.seed) % (1 << 31)
        view = self._look(*lens.rays(T), movers)
        opened = self._sky_share(view, movers, lens.width, exposure_seed)
        color = self._shade(view, movers, opened, lens.pixel_angle, shine)
        if extra_samples > 0:
            self._antialias(color, view[2], opened, T, lens, movers, shine, extra_samples)
        if len(shine):
            lamps.add_glare(color, view[1], T[:3, 3], self._in_sight(T[:3, 3], shine, movers))
        picture = shading.develop(
            color,
            lens.width,
            lens.height,
            1.0,
            light.exposure,
            light.balance,
            light.contrast,
            light.noise,
            light.vignette,
            exposure_seed,
        )
        if lens.dark is not None:
            picture[lens.dark.reshape(picture.shape[:2])] = 0
        return picture

    def depth_image(self, T_map_camera: np.ndarray, K, width: int, height: int, time: float = 0.0) -> np.ndarray:
        """Depth along the optical axis (height, width) float32 [m] of what `render_image` shows, inf for sky."""
        T = np.asarray(T_map_camera, float)
        rays = Pinhole(tuple(K), width, height).rays(T)
        _, directions, hits = self._look(*rays, self._movers(T[:3, 3], time))
        return (hits.range * (directions @ T[:3, 2].astype(np.float32))).reshape(height, width)

    def scan_rays(
        self,
        origins: np.ndarray,
        directions: np.ndarray,
        time,
        max_range: float = MAX_LIDAR_RANGE,
        range_noise: float = RANGE_NOISE,
    ) -> tuple[np.ndarray, np.ndarray]:
        """LiDAR returns of rays in the map frame.

        ``origins``, ``directions``: (n, 3), directions of unit length. ``time``:
        seconds, a number or (n,). ``range_noise``: standard deviation
        [m]. Returns range (n,) float32 metres with inf for no return, and intensity (n,) float32 in [0, 1].
        """
        origins = np.ascontiguousarray(origins, np.float32)
        directions = np.ascontiguousarray(directions, np.float32)
        time = np.asarray(time, float)
        stamp = float(time.flat[0])
        ages = None if time.ndim == 0 else (time - stamp).astype(np.float32)
        hits = self.caster.cast(origins, directions, self._movers(origins[0].astype(float), stamp), ages)
        seed = (self.seed * 1009 + self.day * 9176 + int(stamp * 1e4)) % (1 << 31)
        g = self.geometry
        distance, intensity = shading.returns(
            directions,
            hits.range,
            hits.triangle,
            hits.bary,
            hits.normal,
            seed,
            g.uv,
            g.surface,
            *self._tables(),
            max_range,
            range_noise,
        )
        if self.wet:
            wet.wet_returns(distance, intensity, directions, hits.triangle, hits.normal, g.surface, g.kinds, seed)
        return distance, intensity

    def _tables(self):
        g = self.geometry
        return g.kinds, g.rows, g.decals, g.decal_starts, g.decal_order, g.line.start

    def _movers(self, eye: np.ndarray, time: float):
        g = self.geometry
        movers = (v.at(time, g.line, g.terrain) for v in g.vehicles)
        return [m for m in movers if np.linalg.norm(m.pose[:3, 3] - eye) < MOVER_VIEW and not _in_the_way(m, eye)]

    def _lamps(self, eye: np.ndarray, movers, headlights: np.ndarray | None) -> np.ndarray:
        """Rows of the lamps that shine on what a camera at ``eye`` sees."""
        if not self.light.lamps:
            return np.zeros((0, lamps.COLUMNS))
        return lamps.lamps_near(eye, self._street_lamps, movers, headlights)

    def _in_sight(self, eye: np.ndarray, shine: np.ndarray, movers) -> np.ndarray:
        """The rows of the lamps that nothing hides from ``eye``, other than what they are built of."""
        towards = shine[:, :3] - eye
        distance = np.linalg.norm(towards, axis=1)
        directions = (towards / np.maximum(distance, 1e-6)[:, None]).astype(np.float32)
        origins = np.ascontiguousarray(np.broadcast_to(eye.astype(np.float32), directions.shape))
        return shine[self.caster.cast(origins, directions, movers).range > distance - 0.7]

    @cached_property
    def _street_lamps(self) -> np.ndarray:
        return lamps.street_lamps(self.geometry.lamps, self.geometry.line, self.geometry.terrain, self.seed)

    def _look(self, origins, directions, movers):
        """Origins, directions and hits of rays."""
        return origins, directions, self.caster.cast(origins, directions, movers)

    def _shade(self, view, movers, opened, pixel_angle, shine):
        """Linear colours (n, 3); ``opened`` (n,) is the share of the sky each hit sees, ``shine`` the lamps."""
        origins, directions, hits = view
        lit = self._sun_share(origins, directions, hits, movers)
        g, light = self.geometry, self.light.pack()
        seen = hits.range, hits.triangle, hits.bary, hits.normal
        tables = g.uv, g.surface, *self._tables()
        color = shading.shade(directions, *seen, lit, opened, pixel_angle, *tables, light)
        if self.light.lamps:
            lamps.add_lamps(color, origins, directions, *seen, opened, pixel_angle, *tables, light, shine, len(g.fixed))
        if self.wet:
            start, towards, index = wet.mirror_rays(
                origins, directions, hits.range, hits.triangle, hits.normal, g.surface, g.kinds, self.light.seed
            )
            mirrored = self.caster.cast(start, towards, movers)
            wet.wet_ground(
                color,
                index,
                start,
                towards,
                mirrored.triangle,
                mirrored.normal,
                g.surface,
                g.kinds,
                g.rows,
                hits.normal,
                hits.range,
                light,
                shine,
                len(g.fixed),
                self.light.seed,
            )
        return color

    def _sun_share(self, origins, directions, hits, movers):
        """Share of the sun (n,) that reaches each hit."""
        if not self.light.sun_color.any():
            return np.zeros(len(hits.range), np.float32)
        sun = self.light.sun.astype(np.float32)
        start, index = shading.shadow_rays(origins, directions, hits.range, hits.triangle, hits.normal, sun)
        lit = np.zeros(len(hits.range), np.float32)
        towards = np.ascontiguousarray(np.broadcast_to(sun, start.shape))
        lit[index] = ~self.caster.occluded(start, towards, movers)
        return lit

    def _sky_share(self, view, movers, width, seed):
        """Share of the sky (n,) that each pixel's hit sees."""
        origins, directions, hits = view
        start, towards, pixel = skylight.sky_rays(
            directions, origins, hits.range, hits.triangle, hits.normal, width, seed
        )
        seen = np.full(len(directions), np.nan, np.float32)
        seen[pixel] = ~self.caster.occluded(start, towards, movers)
        return skylight.spread(seen, hits.range, hits.triangle, hits.normal, width, 6)

    def _antialias(self, color, hits, opened, T, lens, movers, shine, samples):
        """Average more rays into the pixels where the surface changes, in place."""
        surface = np.where(hits.triangle >= 0, self.geometry.surface[hits.triangle], -1)
        index = shading.edges(surface, hits.range, lens.width)
        if not len(index):
            return
        total = color[index].copy()
        for k in range(samples):
            angle = 2.4 * k + 0.6
            shift = 0.35 * np.array([np.cos(angle), np.sin(angle)], np.float32)
            view = self._look(*lens.rays(T, shift, index), movers)
            total += self._shade(view, movers, opened[index], lens.pixel_angle, shine)
        color[index] = total / (1 + samples)


def _in_the_way(mover, eye: np.ndarray) -> bool:
    """Whether the sensor at ``eye`` is just before, behind or inside a moving car."""
    x, y, _ = mover.pose[:3, :3].T @ (eye - mover.pose[:3, 3])
    return abs(x) < KEEP_CLEAR[0] and abs(y) < KEEP_CLEAR[1]
