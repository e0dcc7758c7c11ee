# SPDX-License-Identifier: Apache-2.0
"""How the nodes begin and end: --help, arguments, signals."""

import signal
import time

import pytest
from helpers.ros_side import Process

from lhmap_loc_ros.nodes.localizer_node import run_localizer

STARTS = "from lhmap_loc_ros.nodes import start; print('here', flush=True); start.localizer_node()"


@pytest.mark.parametrize("node", ["localizer_node", "map_builder_node"])
def test_help_needs_no_parameters(node):
    with Process("-m", f"lhmap_loc_ros.nodes.{node}", "--help") as process:
        code, out, err = process.end(None, 60)
    assert (code, err) == (0, "") and f"usage: {node}" in out and "--params-file" in out


def test_an_argument_that_a_node_does_not_have_is_told(capfd):
    with pytest.raises(SystemExit) as ended:
        run_localizer(["localizer_node", "campus.lhmap"])
    err = capfd.readouterr().err
    assert ended.value.code == 2 and "campus.lhmap" in err and "--ros-args" in err


@pytest.mark.parametrize("arguments", [["-r", "a b:=c"], ["--params-file", "BROKEN"], ["--no-such-argument"]])
def test_arguments_that_ros_does_not_understand_are_told_in_a_line(tmp_path, arguments, capfd):
    (tmp_path / "broken.yaml").write_text("/**: [ros__parameters")
    arguments = [str(tmp_path / "broken.yaml") if a == "BROKEN" else a for a in arguments]
    code, err = run_localizer(["localizer_node", "--ros-args", *arguments]), capfd.readouterr().err
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and "Traceback" not in err
    assert len(told) == 1 and any(a in told[0] for a in arguments) and ".c:" not in told[0]


@pytest.mark.parametrize("seconds", [0.02, 0.4])
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_ends_it_without_a_traceback(seconds, sig):
    with Process("-c", STARTS) as process:
        assert process._process.stdout.readline() == "here\n"
        time.sleep(seconds)
        code, _, err = process.end(sig, 20)
    assert (code, err) == (0, "")
