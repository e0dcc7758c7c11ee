# SPDX-License-Identifier: Apache-2.0
"""The package is imported and computes where it is installed read-only and no home folder can be written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lhmap_loc_ros

COMPUTES = """
import numpy as np
from lhmap_loc_ros import Localizer, Camera
from lhmap_loc_ros.geometry import distance_along
print(distance_along(np.array([[0.0, 0.0], [3.0, 4.0]]))[-1])
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """A folder with the package and a home in it, neither of which can be written."""
    folder = tmp_path_factory.mktemp("installation")
    source = Path(lhmap_loc_ros.__file__).parent
    shutil.copytree(source, folder / "lhmap_loc_ros", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "home").mkdir()
    folders = [folder / "home", *(path for path in (folder / "lhmap_loc_ros").rglob("*") if path.is_dir())]
    for path in [*folders, folder / "lhmap_loc_ros"]:
        path.chmod(0o555)
    yield folder
    for path in [*folders, folder / "lhmap_loc_ros"]:
        path.chmod(0o755)


def run(installation, temporary):
    """What the program writes, on both outputs, for a user who is not above permissions."""
    hidden = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HOME": str(installation / "home"), "PYTHONPATH": str(installation), "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", COMPUTES]
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed")
        command = ["setpriv", "--bounding-set=-dac_override", *command]
    done = subprocess.run(command, env=environment, cwd=installation / "home", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_a_temporary_folder_takes_the_cache(installation, tmp_path):
    out, told = run(installation, tmp_path)
    cache = tmp_path / f"lhmap_loc_ros-numba-{os.getuid()}"
    assert out == "5.0\n"
    assert told.splitlines() == [
        f"neither the installation nor {installation / 'home' / '.cache'} can be written: numba's cache is {cache}"
    ]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert list(cache.rglob("*.nbi"))


def test_a_folder_that_others_can_write_is_not_used(installation, tmp_path):
    cache = tmp_path / f"lhmap_loc_ros-numba-{os.getuid()}"
    cache.mkdir()
    cache.chmod(0o777)
    out, told = run(installation, tmp_path)
    assert out == "5.0\n"
    assert len(told.splitlines()) == 1 and "no folder of ours can be written" in told
    assert not list(cache.iterdir())
