# SPDX-License-Identifier: Apache-2.0
"""Processes are watched and ended; what one of them says last is told."""

import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest

from lhmap_loc_ros import processes
from lhmap_loc_ros.errors import LhmapError
from lhmap_loc_ros.processes import NodeProcesses, ros_environment

PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of some code and makes it importable for child processes."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        return name

    return write


def test_waits_for_the_end_and_keeps_the_output(module, tmp_path):
    ticks = []
    with NodeProcesses(tmp_path / "logs", 5) as nodes:
        nodes.start("one", module("good", "import os; print('domain', os.environ['ROS_DOMAIN_ID'])"))
        nodes.wait("one", 30, tick=ticks.append)
    assert nodes.log("one").read_text() == "domain 5\n"


def test_failure_names_code_line_and_log(module, tmp_path):
    code = "import sys; print('error: no map', file=sys.stderr); print('bye'); sys.exit(2)"
    with NodeProcesses(tmp_path, 5) as nodes:
        nodes.start("bad", module("bad", code))
        with pytest.raises(LhmapError, match=r"bad failed with code 2: error: no map \(.*bad.log\)"):
            nodes.wait("bad", 30)


def test_end_of_a_companion_is_an_error(module, tmp_path):
    with NodeProcesses(tmp_path, 5) as nodes:
        nodes.start("long", module("long", "import time; time.sleep(60)"))
        nodes.start("short", module("short", "print('fell over')"))
        with pytest.raises(LhmapError, match="short ended early with code 0: fell over"):
            nodes.wait("long", 60, alive=("short",))


def test_takes_no_longer_than_allowed(module, tmp_path):
    with NodeProcesses(tmp_path, 5) as nodes:
        nodes.start("long", module("long", "import time; time.sleep(60)"))
        with pytest.raises(LhmapError, match="did not end within 0 s"):
            nodes.wait("long", 0.3)


def test_a_deaf_process_is_killed(module, tmp_path):
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    with NodeProcesses(tmp_path, 5) as nodes:
        nodes.start("deaf", module("deaf", code))
        end = time.monotonic() + 20
        while "deaf" not in nodes.log("deaf").read_text() and time.monotonic() < end:
            time.sleep(0.05)
        assert nodes.end("deaf", timeout_s=0.3) == -9
        nodes.start("kind", module("kind", "import sys; sys.exit(0)"))
        nodes.wait("kind", 30)


def test_sigterm_ends_the_others_too(module, tmp_path):
    module("other", "import time; print('on', flush=True); time.sleep(60)")
    code = f"""
import time
from pathlib import Path
from lhmap_loc_ros.processes import NodeProcesses
with NodeProcesses(Path({str(tmp_path)!r}), 5) as nodes:
    nodes.start("other", "other")
    print(nodes.pid("other"), flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-m", module("boss", code)], stdout=subprocess.PIPE, text=True) as boss:
        other = int(boss.stdout.readline())
        boss.terminate()
        assert boss.wait(20) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)


def test_images_go_by_the_profiles_of_the_package_unless_others_are_set_or_memory_is_short(monkeypatch):
    monkeypatch.delenv(PROFILES, raising=False)
    monkeypatch.setattr(processes, "_MIN_FREE", 0)
    (profile,) = ElementTree.parse(ros_environment(5)[PROFILES]).findall(".//{*}participant")
    assert profile.get("is_default_profile") == "true"
    monkeypatch.setenv(PROFILES, "mine.xml")
    assert ros_environment(5)[PROFILES] == "mine.xml"
    monkeypatch.delenv(PROFILES)
    monkeypatch.setattr(processes, "_MIN_FREE", 1 << 60)
    assert PROFILES not in ros_environment(5)
