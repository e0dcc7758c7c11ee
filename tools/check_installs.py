#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that the package installs where robots have it; `make installs` runs it. Standard library only.

    python3 tools/check_installs.py [arm] [ubuntu] [core]

arm     pip finds wheels for 64-bit Arm of all that is needed, for Ubuntu 24.04's and 22.04's Python
ubuntu  beside NumPy, SciPy and OpenCV as in Ubuntu 24.04, README.md's lines replace none of them
core    in an empty environment, `pip install .` is enough to localize, and imports quickly

Without a check's name all of them. A check that needs what this machine has not is left out, with a line that says
why: a package index that can be reached, a Python that NumPy 1.26 has wheels for. Ends with 1 if a check fails.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARM_PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{glibc}_aarch64" for glibc in (17, 24, 26, 27, 28, 31, 34))]
"""The tags of wheels that run with glibc 2.35, as Ubuntu 22.04 has it, and later."""
ARM_PYTHONS = ("3.12", "3.10")
UBUNTU = {"numpy": "1.26.4", "scipy": "1.11.4", "opencv-python-headless": "4.6.0.66"}
"""What Ubuntu 24.04 has, as wheels."""
UBUNTU_PYTHONS = ("3.12", "3.11", "3.10")
IMPORTS = "import cv2; from lhmap_loc_ros import LHMap, Localizer, Camera, PosedCamera"
IMPORT_LIMIT_S = 0.3
NO_INDEX = "connection broken by"
"""What pip says where no package index can be reached."""


class LeftOut(Exception):
    """The machine has not what a check needs."""


class Failed(Exception):
    """A check found what should not be."""


def run(*command, cwd=None, path=()):
    """Output of a command. Raises Failed with its end if it fails, LeftOut where pip reached no package index.

    `path` are folders to look for programs in first. An index that does not answer is tried only once more.
    """
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
        env=os.environ | {
            "PATH": os.pathsep.join([*map(str, path), os.environ.get("PATH", os.defpath)]),
            "PIP_RETRIES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": "",
        },
    )  # fmt: skip
    if done.returncode == 0:
        return done.stdout
    if NO_INDEX in done.stdout:
        raise LeftOut("no package index can be reached")
    raise Failed(f"$ {' '.join(map(str, command))}\n{done.stdout[-3000:]}")


def requirements():
    """What localizing needs and what the extra `all` adds, as setup.py has them; not what is for some machines only."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    core, extras, names = (ast.literal_eval(assigned[name]) for name in ("CORE", "EXTRAS", "ALL"))
    # pip takes markers to be of this machine, whatever --platform says
    return [need for need in (*core, *(n for name in names for n in extras[name])) if "platform_machine" not in need]


def robot_lines(readme):
    """The lines of README.md's section on a robot that call pip, for a shell."""
    section = readme.partition("## On a robot with ROS 2")[2].partition("\n## ")[0].replace("\\\n", " ")
    return re.findall(r"^pip .*$", section, flags=re.MULTILINE)


def new_venv(folder, python=sys.executable):
    """The interpreter of a new virtual environment."""
    run(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def copy_of_source(folder):
    """A copy of the sources, so that building leaves nothing among them and finds nothing of earlier builds."""
    ours = {"demo", "street", "run", "runs", "site", "build", "install", "log", "test"}
    keep_out = shutil.ignore_patterns("*.egg-info", "__pycache__", ".*")
    shutil.copytree(
        ROOT, folder, ignore=lambda at, names: keep_out(at, names) | (ours & set(names) if Path(at) == ROOT else set())
    )
    return folder


def versions(python):
    """Versions of UBUNTU's packages in an environment, and that which cv2 says of itself, without its fourth part."""
    program = f"""
import cv2
from importlib.metadata import version
print(*(version(name) for name in {list(UBUNTU)}), cv2.__version__)
"""
    return run(python, "-c", program, cwd="/").split()[-len(UBUNTU) - 1 :]


def check_arm(folder):
    """pip finds wheels for 64-bit Arm."""
    venv = new_venv(folder / "venv")
    platforms = [word for platform in ARM_PLATFORMS for word in ("--platform", platform)]
    for python in ARM_PYTHONS:
        wheels = folder / python
        target = ("--only-binary=:all:", *platforms, "--python-version", python)
        run(venv, "-m", "pip", "download", *target, "-d", wheels, *requirements())
        names = sorted("-".join(wheel.name.split("-")[:2]) for wheel in wheels.glob("*.whl"))
        print(f"arm: Python {python}: {', '.join(names)}", flush=True)


def check_ubuntu(folder):
    """README.md's lines leave Ubuntu's packages as they are."""
    venv = new_venv(folder / "venv", find_python(UBUNTU_PYTHONS))
    run(venv, "-m", "pip", "install", *(f"{name}=={version}" for name, version in UBUNTU.items()))
    before = versions(venv)
    source = copy_of_source(folder / "source")
    # those for a robot, colcon's part, which brings no dependency, and those for a machine without ROS
    install = ["pip install --no-deps .", "pip install .", "pip install '.[all]'"]
    for line in [*robot_lines((ROOT / "README.md").read_text()), *install]:
        run("bash", "-c", line, cwd=source, path=[venv.parent])
        try:
            after = versions(venv)
        except Failed as error:
            raise Failed(f"after {line!r}: {error}") from None
        if after != before:
            raise Failed(f"{line!r}: {before} before, {after} after")
    run(venv, "-c", IMPORTS, cwd="/")
    run(venv.parent / "lhmap", "--help", cwd="/")
    print(f"ubuntu: Python {python_version(venv)}, {' '.join(before[:-1])}: as before; {IMPORTS!r} works", flush=True)


def check_core(folder):
    """What `pip install .` brings is enough to localize."""
    venv = new_venv(folder / "venv")
    run(venv, "-m", "pip", "install", ".", cwd=copy_of_source(folder / "source"))
    run(venv, "-c", IMPORTS, cwd="/")
    seconds = import_time(venv)
    if seconds > IMPORT_LIMIT_S:
        raise Failed(f"import lhmap_loc_ros: {seconds:.2f} s found, expected at most {IMPORT_LIMIT_S} s")
    print(f"core: {IMPORTS!r} works; import lhmap_loc_ros takes {seconds:.2f} s", flush=True)


def import_time(python):
    """Seconds that importing the package takes in a new interpreter, the best of five."""
    program = "import time; t = time.perf_counter(); import lhmap_loc_ros; print(time.perf_counter() - t)"
    return min(float(run(python, "-c", program, cwd="/")) for _ in range(5))


def python_version(python):
    """Major and minor version of an interpreter, as text."""
    return run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()


def find_python(wanted):
    """The first interpreter there is of the versions, this one if it serves. Raises LeftOut if there is none."""
    if "{}.{}".format(*sys.version_info) in wanted:
        return sys.executable
    for version in wanted:
        try:
            run(f"python{version}", "--version")
        except (OSError, Failed):
            continue
        return f"python{version}"
    raise LeftOut(f"Python {' or '.join(wanted)} is needed")


CHECKS = {"arm": check_arm, "ubuntu": check_ubuntu, "core": check_core}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(CHECKS))
    names = parser.parse_args().checks or list(CHECKS)
    if unknown := set(names) - CHECKS.keys():
        parser.error(f"{', '.join(sorted(unknown))} found, expected {', '.join(CHECKS)}")
    failed = False
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                CHECKS[name](Path(folder).resolve())
            except LeftOut as reason:
                print(f"{name}: left out: {reason}")
            except Failed as error:
                print(f"{name}: failed: {error}", file=sys.stderr)
                failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
