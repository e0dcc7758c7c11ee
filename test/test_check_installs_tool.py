# SPDX-License-Identifier: Apache-2.0
"""tools/check_installs.py, without a package index; `make installs` runs it with one."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "check_installs.py"


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("check_installs", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_runs_the_lines_of_the_readme(tool):
    freeze, core, more = tool.robot_lines((ROOT / "README.md").read_text())
    assert freeze.startswith("pip freeze ")
    assert "onnxruntime numba 'pydantic>=2.7'" in core and "kiss-icp" in more


def test_it_asks_for_all_that_setup_names_but_what_is_for_some_machines(tool):
    needs = tool.requirements()
    assert "numpy>=1.26" in needs and any(need.startswith("kiss-icp") for need in needs)
    assert not any(need.startswith("embreex") for need in needs)


def test_a_failing_command_is_shown_with_what_it_said(tool):
    with pytest.raises(tool.Failed, match=r"\$ bash -c echo found; exit 3\nfound"):
        tool.run("bash", "-c", "echo found; exit 3")


def test_without_a_package_index_a_check_is_left_out_with_a_reason():
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": "/dev/null", "PIP_NO_CACHE_DIR": "1"}
    done = subprocess.run(
        [sys.executable, TOOL, "arm"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **nowhere}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "arm: left out: no package index can be reached\n"


def test_a_check_that_there_is_not_is_refused():
    done = subprocess.run([sys.executable, TOOL, "windows"], capture_output=True, text=True)
    assert done.returncode == 2 and "windows found, expected arm, ubuntu, core" in done.stderr
