# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines for one kind of GPU, out of the cache or built into it."""

from __future__ import annotations

from typing import Any

from ..errors import ModelError
from .choice import PRECISIONS, Backend, Precision
from .engine_cache import EngineCache, EngineKey
from .gpu import find_gpu
from .model import Network
from .tensorrt_build import Progress, build_engine, onnx_for_engine
from .tensorrt_package import known_targets, package_name


class Engines:
    """Engines of one TensorRT for GPUs of one compute capability."""

    def __init__(self, trt: Any, sm: int, cache: EngineCache):
        """Raises ModelError where this TensorRT cannot build for `sm`, e.g. 86."""
        known = known_targets(trt)
        if known and sm not in known:
            raise ModelError(f"{package_name(trt)} does not know SM {sm}, expected one of {', '.join(map(str, known))}")
        self._trt, self._sm, self._cache = trt, sm, cache
        # without a choice it builds for the GPU of this machine
        self._chosen = sm if known else None

    def there(self, network: Network, precision: str) -> bool:
        """Whether nothing has to be built."""
        return self._cache.load(self._key(network, onnx_for_engine(network, precision), precision)) is not None

    def obtain(self, network: Network, precision: str, progress: Progress) -> bytes:
        """The engine, built unless it is in the cache; raises ModelError where it cannot be built."""
        onnx = onnx_for_engine(network, precision)

        def build() -> bytes:
            return build_engine(self._trt, network.path.stem, onnx, self._chosen, progress)

        return self._cache.obtain(self._key(network, onnx, precision), build)

    def discard(self, network: Network, precision: str, reason: str) -> None:
        """Deletes an engine that is whole and yet of no use."""
        self._cache.discard(self._key(network, onnx_for_engine(network, precision), precision), reason)

    def _key(self, network: Network, onnx: bytes, precision: str) -> EngineKey:
        return EngineKey.of(network, onnx, package_name(self._trt), f"sm{self._sm}", precision)


def sm_to_build_for(trt: Any, asked: int | None) -> int:
    """The compute capability asked for, or that of this machine's GPU; raises ModelError where it cannot be had."""
    gpu, known = find_gpu(), known_targets(trt)
    if asked is not None and not known and (gpu is None or gpu.sm != asked):
        here = "none answers" if gpu is None else f"SM {gpu.sm}"
        raise ModelError(f"{package_name(trt)} builds for the GPU of this machine only ({here}), asked for SM {asked}")
    if asked is not None:
        return asked
    if gpu is None:
        which = f"--sm, one of {', '.join(map(str, known))}" if known else "a machine that has one"
        raise ModelError(f"no NVIDIA GPU answers here; to build engines with {package_name(trt)} use {which}")
    return gpu.sm


def checked_precision(name: str) -> str:
    """A precision that TensorRT has, auto as `load_model` takes it there; raises ModelError for others."""
    known = [precision.value for precision in PRECISIONS[Backend.TENSORRT]]
    if name not in known:
        raise ModelError(f"precision {name!r} does not go with TensorRT, expected {' or '.join(known)}")
    return Precision.FP32.value if name == Precision.AUTO.value else name
