# SPDX-License-Identifier: Apache-2.0
"""The light and the camera's colours of one day, and the sky they make."""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit

from .noise import JIT, fbm

LIGHTS = "day", "dusk", "night"


@dataclass(frozen=True)
class Light:
    """Radiance is relative: a white surface facing the sun and the sky has about 1."""

    sun: np.ndarray  # (3,) unit vector towards the sun, map frame
    sun_color: np.ndarray  # (3,) irradiance of the sun, linear RGB
    sky_color: np.ndarray  # (3,) irradiance of the sky on a level surface
    zenith: np.ndarray  # (3,) radiance of the sky overhead
    horizon: np.ndarray  # (3,) radiance of the sky at the horizon
    cloud: float  # share of the sky under clouds, 0..1
    haze: float  # extinction [1/m]
    exposure: float  # brightness the camera aims at
    balance: np.ndarray  # (3,) white balance gains
    contrast: float  # 0 = plain gamma, 1 = steep s-shaped tone curve
    noise: float  # standard deviation of pixel noise [grey levels]
    vignette: float  # darkening towards the corners, 0..1
    seed: int
    lamps: bool = False  # whether street lamps and headlights are on

    @staticmethod
    def generate(rng: np.random.Generator, when: str = "day") -> "Light":
        """Draw a day: sunny, partly cloudy or overcast; or a dusk or a night (see LIGHTS)."""
        day = Light._of_day(rng)
        return day if when == "day" else day._after_sunset(rng, when)

    @staticmethod
    def _of_day(rng: np.random.Generator) -> "Light":
        weather = rng.random()
        elevation = np.radians(rng.uniform(14, 62))
        azimuth = rng.uniform(0, 2 * np.pi)
        sun = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
        warm = np.clip((0.8 - elevation) / 0.8, 0, 1)
        tint = np.array([1.0, 0.95 - 0.12 * warm, 0.88 - 0.35 * warm])
        if weather < 0.6:  # sun
            strength, sky, cloud = rng.uniform(0.85, 1.2), rng.uniform(0.16, 0.32), rng.uniform(0.0, 0.5)
            blue = np.array([0.72, 0.88, 1.15])
        elif weather < 0.75:  # thin cloud, soft sun
            strength, sky, cloud = rng.uniform(0.25, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.8)
            blue = np.array([0.88, 0.95, 1.06])
        else:  # overcast
            strength, sky, cloud = rng.uniform(0.0, 0.06), rng.uniform(0.6, 0.9), rng.uniform(0.9, 1.0)
            blue = np.array([0.96, 0.99, 1.03])
        zenith = np.array([0.16, 0.3, 0.62]) * rng.uniform(0.7, 1.2) * (1 - cloud) + 0.75 * cloud
        horizon = np.array([0.72, 0.8, 0.9]) * (1 - cloud) + np.array([0.85, 0.87, 0.9]) * cloud
        return Light(
            sun,
            strength * tint,
            sky * blue,
            zenith,
            horizon,
            float(cloud),
            float(np.exp(rng.uniform(np.log(1e-4), np.log(2.5e-3)))),
            float(rng.uniform(0.34, 0.52)),
            1 + rng.uniform(-0.09, 0.09, 3),
            float(rng.uniform(0.1, 0.9)),
            float(rng.uniform(0.5, 3.0)),
            float(rng.uniform(0.0, 0.25)),
            int(rng.integers(1 << 20)),
        )

    def _after_sunset(self, rng: np.random.Generator, when: str) -> "Light":
        """The same camera when the sun is down and the lamps are on; a hundredth of the light by night."""
        tint = np.array([0.75, 0.85, 1.15])
        if when == "dusk":
            level = rng.uniform(0.03, 0.12)
            zenith, horizon = level * np.array([0.5, 0.7, 1.3]), level * np.array([2.6, 1.7, 1.3])
            target, noise = rng.uniform(0.26, 0.38), rng.uniform(1.5, 5.0)
        else:
            level = rng.uniform(0.001, 0.005)
            zenith, horizon = level * np.array([0.5, 0.6, 0.9]), level * np.array([1.9, 1.6, 1.3])
            target, noise = rng.uniform(0.2, 0.3), rng.uniform(4.0, 9.0)
        # a cloud share below zero: the clouds of the day are lit by the sun
        return replace(
            self,
            sun_color=np.zeros(3),
            sky_color=level * tint,
            zenith=zenith,
            horizon=horizon,
            cloud=-2.0,
            exposure=float(target),
            noise=float(noise),
            lamps=True,
        )

    def pack(self) -> np.ndarray:
        """Everything the compiled shader needs, as one float64 vector."""
        return np.concatenate(
            [self.sun, self.sun_color, self.sky_color, self.zenith, self.horizon, [self.cloud, self.haze, self.seed]]
        )


@njit(**JIT)
def sky(x, y, z, light, clouds):
    """Sky radiance in a unit direction; below a hazy skyline the distant land."""
    seed = np.int64(light[17])
    az = np.arctan2(y, x)
    skyline = 0.03 + 0.02 * fbm(az, 0.5, seed, 0.9, 5, 0.6, 0.002) + 0.01 * fbm(az, 9.5, seed, 0.1, 4, 0.7, 0.002)
    up = max(z, 0.0)
    t = min(1.0, up * 1.6) ** 0.6
    r = light[12] + (light[9] - light[12]) * t
    g = light[13] + (light[10] - light[13]) * t
    b = light[14] + (light[11] - light[14]) * t
    if z > 0.02 and clouds:
        k = 1.0 / (z + 0.12)
        n = fbm(x * k, y * k, seed + 1, 2.2, 6, 0.55, 0.01 * k)
        cover = min(1.0, max(0.0, 1.4 * n + 2.2 * light[15] - 0.9)) * min(1.0, z * 8.0)
        lit = 0.86 + 0.16 * fbm(x * k, y * k, seed + 2, 1.4, 5, 0.6, 0.01 * k)
        r += (lit - r) * cover * 0.9
        g += (lit - g) * cover * 0.9
        b += (lit * 1.02 - b) * cover * 0.9
    glow = max(0.0, x * light[0] + y * light[1] + z * light[2])
    glow = glow**24 * 0.6 + glow**400 * 4.0
    r += glow * light[3]
    g += glow * light[4]
    b += glow * light[5]
    if z < skyline:
        shade = 0.3 + 0.1 * fbm(az * 3.0, z * 3.0, seed + 3, 0.12, 4, 0.7, 0.002)
        far = 0.55
        r = r * far + 0.10 * shade * (1 - far)
        g = g * far + 0.14 * shade * (1 - far)
        b = b * far + 0.10 * shade * (1 - far)
        r *= 0.75
        g *= 0.78
        b *= 0.8
    return r, g, b
