# SPDX-License-Identifier: Apache-2.0
"""TensorRT, by whichever package is installed: `tensorrt` (10, 11) and `tensorrt_rtx` have the same classes."""

from __future__ import annotations

import importlib
import logging
from functools import cache
from typing import Any

from ..errors import ModelError

PACKAGES = ("tensorrt", "tensorrt_rtx")
"""The first that can be imported is used."""
HOW_TO_GET = "pip install 'lhmap_loc_ros[tensorrt]', or [tensorrt-rtx] for GeForce and RTX GPUs"
_log = logging.getLogger(__name__)


@cache
def import_tensorrt() -> Any:
    """The module; raises ModelError that tells what is missing."""
    problems = []
    for name in PACKAGES:
        try:
            module = importlib.import_module(name)
            if hasattr(module, "Builder") and hasattr(module, "OnnxParser"):
                return module
            problems.append(f"{name}: has no builder")
        except (ImportError, OSError, RuntimeError) as error:  # a package without its libraries
            problems.append(f"{name}: {error}")
    raise ModelError(f"backend tensorrt needs TensorRT ({'; '.join(problems)}): {HOW_TO_GET}")


def package_name(trt: Any) -> str:
    """Name and version, e.g. "tensorrt_rtx 1.7.1.116"."""
    return f"{trt.__name__} {trt.__version__}"


@cache
def logger(trt: Any) -> Any:
    """TensorRT's messages, in Python's logging. One for the process: TensorRT keeps the first it is given."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            """What went wrong of late, for errors of ours."""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors = [*self.errors[-4:], message]
            if severity != trt.ILogger.VERBOSE:
                _log.debug("%s", message)

    return Logger()


def known_targets(trt: Any) -> list[int]:
    """Compute capabilities that this package can build for without such a GPU; empty: for this machine's GPU only."""
    members = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    return sorted(int(name[2:]) for name in members if name.startswith("SM"))
