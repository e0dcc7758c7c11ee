# SPDX-License-Identifier: Apache-2.0
"""Nodes as processes of this Python: started, watched, ended, their output kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from .errors import LhmapError
from .share import shared_folders

PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""The environment variable that names Fast DDS its profiles."""
_SHARED_MEMORY, _MIN_FREE = Path("/dev/shm"), 256 << 20


def ros_environment(domain: int) -> dict[str, str]:
    """The environment of a process whose nodes only those of the same ROS `domain` on this machine see.

    Images go by config/fastdds.xml, unless other profiles are set: with the defaults some are lost, all are slower.
    """
    own = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    profiles = image_profiles()
    return ({PROFILES: profiles} if profiles else {}) | os.environ | own


def image_profiles() -> str:
    """Path of the Fast DDS profiles for images; empty where shared memory is too small, as in most containers."""
    files = (folder / "fastdds.xml" for folder in shared_folders("config"))
    found = next((file for file in files if file.is_file()), None)
    if found is None or not _SHARED_MEMORY.is_dir() or shutil.disk_usage(_SHARED_MEMORY).free < _MIN_FREE:
        return ""
    return str(found)


def last_words(said: str, code: int | None) -> str:
    """Why a process has ended: the last line of its standard error; where there is none its exit code, if known."""
    lines = said.strip().splitlines()
    if lines:
        return lines[-1]
    return "ended without a word" + ("" if code is None else f", with code {code}")


def _exit(number: int, _) -> None:
    raise SystemExit(128 + number)


class NodeProcesses:
    """A context manager; whatever still runs at its end is ended, and a SIGTERM ends it."""

    def __init__(self, logs: Path, domain: int):
        """Output goes to ``logs``/NAME.log; only nodes of the same ROS `domain` on this machine see each other."""
        self._logs = logs
        self._environment = {**ros_environment(domain), "PYTHONUNBUFFERED": "1"}
        self._running: dict[str, subprocess.Popen] = {}
        self._handled = False

    def __enter__(self) -> NodeProcesses:
        self._logs.mkdir(parents=True, exist_ok=True)
        # as it comes, SIGTERM ends Python at once, and the processes would run on
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _exit)
            self._handled = True
        return self

    def __exit__(self, *_) -> None:
        for name in reversed(list(self._running)):
            self.end(name)
        if self._handled:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def start(self, name: str, module: str, *arguments: str) -> None:
        """Runs ``python -m module arguments`` under a name of its own."""
        command = [sys.executable, "-m", module, *arguments]
        with open(self.log(name), "wb") as log:
            # a session of its own: Ctrl-C in the terminal reaches this process alone, which then ends the others
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=self._environment, start_new_session=True,
            )  # fmt: skip

    def pid(self, name: str) -> int:
        """Number of a running process."""
        return self._running[name].pid

    def log(self, name: str) -> Path:
        """Where the output of a process goes."""
        return self._logs / f"{name}.log"

    def check(self, *names: str) -> None:
        """Raises LhmapError with the last line of its output if one of these has ended."""
        for name in names:
            code = self._running[name].poll()
            if code is not None:
                raise LhmapError(f"{name} ended early with code {code}: {self._last_line(name)} ({self.log(name)})")

    def wait(self, name: str, timeout_s: float, alive: tuple[str, ...] = (), tick=None) -> None:
        """Until a process has ended well, while those of `alive` run on; `tick(seconds)` is called meanwhile.

        Raises LhmapError if it fails, takes longer, or one of the others ends.
        """
        began = time.monotonic()
        process = self._running[name]
        while process.poll() is None:
            self.check(*alive)
            spent = time.monotonic() - began
            if spent > timeout_s:
                raise LhmapError(f"{name} did not end within {timeout_s:.0f} s ({self.log(name)})")
            if tick is not None:
                tick(spent)
            try:
                process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
        if process.returncode != 0:
            raise LhmapError(
                f"{name} failed with code {process.returncode}: {self._last_line(name)} ({self.log(name)})"
            )

    def end(self, name: str, timeout_s: float = 15.0) -> int:
        """Asks a process to end, kills it if it does not; returns its code."""
        process = self._running.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return process.returncode

    def _last_line(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").split("\n")
        # the line that says what is wrong, rather than the end of a stack
        errors = [line for line in lines if line.startswith("error:")]
        return next((line.strip() for line in reversed(errors or lines) if line.strip()), "no output")
