# SPDX-License-Identifier: Apache-2.0
"""Which NVIDIA GPU there is, asked of its driver: no package is needed, and nothing is loaded where there is none."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

_DRIVER = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as CUDA numbers it."""

    number: int
    name: str
    sm: int
    """Compute capability, e.g. 86 for 8.6."""


def find_gpu(number: int = 0) -> Gpu | None:
    """The GPU of that number; None where there is none or its driver does not work."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    asked: tuple[Callable[[], int], ...] = (
        lambda: driver.cuInit(0),
        lambda: driver.cuDeviceGet(ctypes.byref(device), number),
        lambda: driver.cuDeviceGetName(name, len(name), device),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
    )
    if any(ask() != 0 for ask in asked):
        return None
    return Gpu(number, name.value.decode(errors="replace"), 10 * major.value + minor.value)
