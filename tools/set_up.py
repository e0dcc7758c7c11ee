# SPDX-License-Identifier: Apache-2.0
"""Makes a virtual environment in which everything runs: the package, and ROS 2 where it is not installed.

    python3 tools/set_up.py [--venv .venv] [--extras test,train]

Standard library only. A second run with nothing changed does nothing. The whole output of every step is in
VENV/setup.log.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parent.parent
STANDINS = ROOT / "tools" / "ros_standins"
ROS_REQUIREMENTS = ROOT / "tools" / "requirements-ros.txt"
DESCRIPTIONS = ("setup.py", "setup.cfg", "pyproject.toml", "package.xml")


class Venv:
    """The virtual environment, and a note in it of what was put there."""

    def __init__(self, path):
        self.path = path.resolve()
        self.python = self.path / "bin" / "python"
        self.log = self.path / "setup.log"
        self._note = self.path / "setup.json"

    @property
    def done(self):
        """Fingerprints of the steps that are done; empty if the environment is gone or cannot start."""
        return json.loads(self._note.read_text()) if self._note.is_file() and self.python.exists() else {}

    def start_afresh(self):
        """Empties the folder; refuses one that this set-up did not make."""
        if self.path.exists() and not self._note.is_file() and any(self.path.iterdir()):
            sys.exit(f"{self.path} is there but was not made by this set-up: remove it, or name another with --venv")
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        self.mark("venv", "begun")

    def mark(self, step, fingerprint):
        """Notes that a step is done."""
        self._note.write_text(json.dumps({**self.done, step: fingerprint}, indent=2))

    def run(self, command, what, env=None):
        """Runs a command, showing its last line where a person watches; ends the set-up if it fails."""
        live = sys.stdout.isatty()
        started = time.monotonic()
        print(f"    {what} ...", end="" if live else "\n", flush=True)
        tail = []
        with self.log.open("a") as log:
            log.write(f"\n$ {' '.join(map(str, command))}\n")
            process = subprocess.Popen(
                list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=ROOT
            )
            for line in process.stdout:
                log.write(line)
                tail = [*tail[-29:], line]
                if live:
                    print(
                        f"\r\033[K    {what} ... {time.monotonic() - started:3.0f} s  {line.strip()[:60]}",
                        end="",
                        flush=True,
                    )
        if process.wait() != 0:
            sys.exit(f"\n{''.join(tail)}\nset-up failed at: {what}. The whole output is in {self.log}")
        print(f"{chr(13)}\033[K" if live else "", end="")
        print(f"    {what}: done in {time.monotonic() - started:.0f} s", flush=True)


def fingerprint(paths, *words):
    """A hash of files (folders: of every file in them) and words."""
    digest = hashlib.sha256(repr(words).encode())
    for path in paths:
        for file in sorted(p for p in ([path] if path.is_file() else path.rglob("*")) if p.suffix != ".pyc"):
            if file.is_file():
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()


def create(venv, ros):
    """1. The environment itself; with a ROS installation it sees that one's packages."""
    wanted = fingerprint([], sys.version, str(venv.path), ros)
    if venv.done.get("venv") == wanted:
        return
    venv.start_afresh()
    options = ["--system-site-packages"] if ros else []
    result = subprocess.run([sys.executable, "-m", "venv", *options, str(venv.path)], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"cannot make {venv.path}: sudo apt install python3-venv\n{result.stdout}{result.stderr}")
    venv.mark("venv", wanted)


def install(venv, ros, extras):
    """2. The package with what it needs from PyPI, and the ROS 2 wheels where there is no ROS installation."""
    requirements = [] if ros else [ROS_REQUIREMENTS]
    extras = sorted(set(extras) | set(venv.done.get("extras", "").split(",")) - {""})
    wanted = fingerprint([*(ROOT / name for name in DESCRIPTIONS), *requirements], extras)
    if venv.done.get("packages") == wanted:
        return
    package = f"{ROOT}[{','.join(['all', *extras])}]"
    command = [venv.python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    command += [word for file in requirements for word in ("-r", file)] + ["-e", package]
    names = "the package and its dependencies" + ("" if ros else ", ROS 2 wheels") + "".join(f", {e}" for e in extras)
    venv.run(command, f"installing {names} (minutes the first time)")
    venv.mark("extras", ",".join(extras))
    venv.mark("packages", wanted)


def build_tf2_msgs(venv):
    """3. tf2_msgs, generated from its interface definition by the tool chain of the wheels."""
    sources, headers = STANDINS / "tf2_msgs", STANDINS / "python_abi"
    wanted = fingerprint([sources, headers, ROS_REQUIREMENTS])
    if venv.done.get("tf2_msgs") == wanted:
        return
    build = venv.path / "build" / "tf2_msgs"
    shutil.rmtree(build, ignore_errors=True)
    # CMake wants to read this Python's version next to its headers
    include = build / "include"
    shutil.copytree(headers, include)
    (include / "patchlevel.h").write_text(f'#define PY_VERSION "{sys.version.split()[0]}"\n')
    bin_folder = venv.path / "bin"
    env = {
        **os.environ,
        "PATH": f"{bin_folder}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "AMENT_PREFIX_PATH": str(venv.path),
        "CMAKE_PREFIX_PATH": str(venv.path),
        "LD_LIBRARY_PATH": str(venv.path / "lib"),
    }
    configure = [bin_folder / "cmake", "-G", "Ninja", "-S", sources, "-B", build / "out"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={bin_folder / 'ninja'}", f"-DCMAKE_INSTALL_PREFIX={venv.path}"]
    configure += ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={venv.python}"]
    configure += [f"-DPython3_INCLUDE_DIR={include}", f"-DPython3_NumPy_INCLUDE_DIR={include}"]
    venv.run(configure, "configuring tf2_msgs", env)
    venv.run([bin_folder / "cmake", "--build", build / "out", "--target", "install"], "building tf2_msgs", env)
    shutil.rmtree(build)
    venv.mark("tf2_msgs", wanted)


def link_standins(venv):
    """4. The Python stand-ins, at the end of the search path, where a real package always comes first."""
    site = next((venv.path / "lib").glob("python3.*/site-packages"))
    (site / "lhmap_ros_standins.pth").write_text(f"{STANDINS / 'python'}\n")


def check(venv, ros):
    """5. Everything the nodes import is there."""
    wanted = fingerprint([], venv.done.get("packages"), venv.done.get("tf2_msgs"), ros)
    if venv.done.get("check") == wanted:
        return
    modules = [*machine.ROS_MODULES, "cv2", "onnxruntime", "numba", "rosbags"]
    venv.run([venv.python, "-c", f"import {', '.join(modules)}"], "checking that all of it imports")
    venv.mark("check", wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where to make it (default: .venv)")
    parser.add_argument("--extras", default="", help="groups of setup.py to add, separated by commas: test, train, ...")
    arguments = parser.parse_args()
    ros = machine.has_ros()
    for problem in machine.problems(ros):
        print(problem)
    if machine.problems(ros):
        sys.exit(2)
    venv = Venv(arguments.venv)
    if not venv.done:
        source = "the ROS installation that is sourced" if ros else "ROS 2 wheels from PyPI"
        print(f"Setting up {venv.path} with Python {sys.version.split()[0]} and {source}", flush=True)
        for setup in machine.unsourced_ros():
            print(f"    (a ROS installation is not sourced; to use it: rm -rf .venv, source {setup}, make again)")
    create(venv, ros)
    install(venv, ros, [e for e in arguments.extras.split(",") if e])
    if not ros:
        build_tf2_msgs(venv)
        link_standins(venv)
    check(venv, ros)


if __name__ == "__main__":
    main()
