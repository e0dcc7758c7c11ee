# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines from ONNX networks. It takes from under a second (tensorrt_rtx) to minutes (tensorrt)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..errors import ModelError
from .half_precision import to_half_precision, with_plain_weights
from .model import Network
from .tensorrt_package import known_targets, logger, package_name

Progress = Callable[[int, int], bool]
"""Takes steps done and their total; False ends the build."""
_STEPS = 100


def onnx_for_engine(network: Network, precision: str) -> bytes:
    """The ONNX that TensorRT gets: the types in it are those of the engine."""
    return to_half_precision(network.content) if precision == "fp16" else with_plain_weights(network.content)


def build_engine(
    trt: Any, name: str, onnx: bytes, sm: int | None, progress: Progress = lambda done, total: True
) -> bytes:
    """A serialized engine, for GPUs of compute capability `sm` (tensorrt_rtx) or, None, for this machine's.

    Raises ModelError with TensorRT's own words where it cannot parse or build the network.
    """
    log = logger(trt)
    log.errors = []
    builder = trt.Builder(log)
    # required by TensorRT 10, the only way there is in 11 and in tensorrt_rtx
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        problems = [parser.get_error(k) for k in range(parser.num_errors)]
        words = "; ".join(f"{p.node_operator()} {p.node_name()}: {p.desc()}" for p in problems)
        raise ModelError(f"{name}: {package_name(trt)} cannot parse it: {words}")
    config = _config(trt, builder, sm)
    monitor = _monitor(trt, progress)
    if monitor is not None:
        config.progress_monitor = monitor
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        said = "; ".join(log.errors) or "it was stopped"
        raise ModelError(f"{name}: {package_name(trt)} cannot build an engine for {_target(sm)}: {said}")
    return bytes(engine)


def _config(trt: Any, builder: Any, sm: int | None) -> Any:
    config = builder.create_builder_config()
    # single precision means that, not TensorFloat-32
    config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        # tensorrt_rtx: without it an engine may allocate while it runs, which a CUDA graph cannot hold
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if sm is not None:
        if sm not in known_targets(trt):
            known = ", ".join(map(str, known_targets(trt))) or "this machine's GPU only"
            raise ModelError(f"{package_name(trt)} cannot build for SM {sm}, expected: {known}")
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), 0)
    return config


def _target(sm: int | None) -> str:
    return "this machine's GPU" if sm is None else f"SM {sm}"


def _monitor(trt: Any, progress: Progress) -> Any:
    """Turns TensorRT's nested phases into one rising number; None for a TensorRT that does not tell."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, Any] = {}
            self._lock, self._shown = threading.Lock(), 0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._phases[phase_name] = (0, max(num_steps, 1))

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                if phase_name in self._phases:
                    self._phases[phase_name] = (step + 1, self._phases[phase_name][1])
                self._shown = max(self._shown, int(_STEPS * share_done(list(self._phases.values()))))
                # what TensorRT calls must not raise
                try:
                    return bool(progress(self._shown, _STEPS))
                except Exception:
                    return False

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._phases.pop(phase_name, None)

    return Monitor()


def share_done(phases: list[tuple[int, int]]) -> float:
    """The share done of phases (steps done, steps), each of which is one step of the phase before it."""
    share, size = 0.0, 1.0
    for done, steps in phases:
        share += size * min(done, steps) / steps
        size /= steps
    return min(share, 1.0)
