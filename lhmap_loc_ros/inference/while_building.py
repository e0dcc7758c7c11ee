# SPDX-License-Identifier: Apache-2.0
"""A network that answers at once, by one backend, while another one still gets ready."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .model import Model, State
from .tensorrt_build import Progress

_JOIN_S = 10.0
_ONE_AT_A_TIME = threading.Lock()
"""Builds measure kernels: two at once would measure each other."""
_log = logging.getLogger(__name__)


class ModelWhileBuilding(Model):
    """Runs in `serving` until the thread that builds is done; for good if that fails."""

    def __init__(self, serving: Model, build: Callable[[Progress], Model]):
        """`build` makes the model to take over and tells its progress; it may raise anything."""
        # no call of the base class: what it keeps is that of the model in use
        self._name = serving.path.stem
        self._used, self._build = serving, build
        self._percent, self._stop = 0, threading.Event()
        self._outcome: tuple[State, str] = (State.BUILDING, "")
        self._thread = threading.Thread(target=self._get_ready, name=f"build {self._name}", daemon=True)
        # a thread that is inside TensorRT when the interpreter ends takes the process down with it
        atexit.register(self._end)
        self._thread.start()

    path = property(lambda self: self._used.path)
    sha256 = property(lambda self: self._used.sha256)
    inputs = property(lambda self: self._used.inputs)
    outputs = property(lambda self: self._used.outputs)
    metadata = property(lambda self: self._used.metadata)
    backend = property(lambda self: self._used.backend)
    precision = property(lambda self: self._used.precision)
    tensor_device = property(lambda self: self._used.tensor_device)
    state = property(lambda self: self._outcome[0])

    @property
    def status(self) -> str:  # type: ignore[override]
        state, problem = self._outcome
        if state is State.BUILDING:
            return f"the engine of {self._name} is being built, {self._percent} %"
        return "loaded" if state is State.READY else f"the engine of {self._name} could not be built: {problem}"

    def wait(self, timeout_s: float | None = None) -> None:
        """Returns when the build has ended, or after the time."""
        self._thread.join(timeout_s)

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._used.run(inputs)

    def _run_on_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return self._used.run_on_device(inputs)

    def _get_ready(self) -> None:
        began = time.monotonic()
        try:
            with _ONE_AT_A_TIME:
                if self._stop.is_set():
                    return
                _log.info("building the engine of %s; %s answers meanwhile", self._name, self._used.backend)
                self._used = self._build(self._progress)
            self._outcome = (State.READY, "")
            _log.info("%s runs in %s after %.0f s", self._name, self._used.backend, time.monotonic() - began)
        except Exception as error:  # whatever it is, the model that serves goes on
            self._outcome = (State.FAILED, str(error) or type(error).__name__)
            _log.error("%s; %s goes on", self.status, self._used.backend)
        finally:
            atexit.unregister(self._end)

    def _progress(self, done: int, total: int) -> bool:
        """Keeps how far the build is; False where it is to end."""
        percent = 100 * done // max(total, 1)
        if percent // 10 > self._percent // 10:
            _log.info("building the engine of %s: %d %%", self._name, percent)
        self._percent = percent
        return not self._stop.is_set()

    def _end(self) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)
