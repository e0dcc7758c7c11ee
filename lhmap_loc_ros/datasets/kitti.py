# SPDX-License-Identifier: Apache-2.0
"""KITTI odometry sequences as bags.

Layout read: ``ROOT/sequences/SEQ/{image_2/*.png, velodyne/*.bin, calib.txt, times.txt}`` and, for ground truth,
``ROOT/poses/SEQ.txt`` (Geiger, Lenz, Urtasun, CVPR 2012).

Frames: `base_link` and `lidar` are both the Velodyne (x forward, y left, z up along its axis); `map` is
`base_link` at the first frame of the sequence, whatever frames are imported, so that bags of even and of odd
frames share it. `camera_optical_frame` is camera 2: the offset in the fourth column of P2 is part of its pose.
KITTI's scans are compensated for motion, so the points carry no times.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from ..errors import BagError
from ..geometry import inverse, make_pose
from .bag_writer import BagWriter
from .trajectory import Trajectory
from .tum import read_kitti_poses, write_tum

EPOCH_NS = 1_317_000_000 * 10**9
"""Added to the times of a sequence, which start at 0: in ROS a stamp of zero means "latest"."""


@dataclass(frozen=True)
class Calibration:
    """The part of calib.txt that is needed."""

    matrix: np.ndarray
    """K of camera 2 (3, 3), pixels."""
    T_camera_lidar: np.ndarray
    """Pose of the Velodyne in the optical frame of camera 2 (4, 4)."""
    T_camera0_lidar: np.ndarray
    """Pose of the Velodyne in the optical frame of camera 0 (4, 4), to which the ground truth refers."""


class Sequence:
    """A sequence on disk; raises BagError if something is missing or damaged."""

    def __init__(self, root, name: str):
        self.folder = Path(root) / "sequences" / name
        if not self.folder.is_dir():
            there = ", ".join(sorted(p.name for p in (Path(root) / "sequences").glob("*"))) or "none"
            raise BagError(f"{self.folder}: no such sequence; there are: {there}")
        self.calibration = read_calibration(self.folder / "calib.txt")
        self.stamps = _read_times(self.folder / "times.txt")
        """(N,) int64, nanoseconds."""
        self.truth_path = Path(root) / "poses" / f"{name}.txt"
        self.truth = _read_truth(self.truth_path, self.stamps, self.calibration)
        """T_map_base of every frame; None if there is no ground truth."""

    def scan(self, number: int) -> np.ndarray:
        """x, y, z [m] and reflectance [0, 1] of the points (N, 4) float32."""
        return _read_scan(self.folder / "velodyne" / f"{number:06d}.bin")

    def image(self, number: int) -> np.ndarray:
        """The image of camera 2 (H, W, 3) uint8 RGB."""
        path = self.folder / "image_2" / f"{number:06d}.png"
        image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.exists() else None
        if image is None:
            raise BagError(f"{path}: {'cannot be decoded' if path.exists() else 'not there'}, expected an image")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def import_sequence(
    root, sequence: str, out, frames: Literal["all", "even", "odd"] = "all", with_poses: bool | None = None, report=None
) -> Path:
    """Writes the bag `out` from a sequence, and its ground truth, if there is one, to ``<out>.tum``.

    The ground truth (T_map_base) goes into the bag too, as TF, if `with_poses` says so; left open, it does
    for even and all frames (they make maps), not for odd ones (queries must not know the truth).
    Returns the path of the bag. Raises BagError if something is missing or damaged; then nothing is left.
    """
    source, out = Sequence(root, sequence), Path(out)
    stamps, truth = source.stamps, source.truth
    if frames not in ("all", "even", "odd"):
        raise BagError(f"frames: {frames!r} found, expected all, even or odd")
    if out.exists():
        raise BagError(f"{out}: exists already, expected a path for a new bag")
    if with_poses is None:
        with_poses = truth is not None and frames != "odd"
    if with_poses and truth is None:
        raise BagError(f"{source.truth_path}: not there, but poses are wanted in the bag")
    chosen = range(len(stamps))[{"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}[frames]]
    if not out.parent.is_dir():
        raise BagError(f"{out}: cannot be written, there is no folder {out.parent}")
    # a bag's files are named after its folder, so it grows under its own name in a folder of its own
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as workshop:
        growing = Path(workshop) / out.name
        with BagWriter(growing) as writer:
            _write_static(writer, int(stamps[chosen[0]]), source.calibration)
            for done, number in enumerate(chosen, 1):
                pose = truth.poses[number] if with_poses else None
                _write_frame(writer, source, number, pose)
                if report:
                    report("import", done, len(chosen))
        if truth is not None:
            write_tum(truth_path(out), Trajectory(stamps[chosen], truth.poses[chosen]))
        shutil.move(growing, out)
    return out


def truth_path(bag) -> Path:
    """Where the ground truth of an imported bag lies."""
    return Path(bag).with_name(Path(bag).name + ".tum")


def read_calibration(path) -> Calibration:
    """Reads calib.txt; raises BagError if P2 or Tr is missing or not 12 numbers."""
    rows = {}
    for name, _, values in (line.partition(":") for line in _text(path).splitlines()):
        rows[name.strip()] = values.split()
    matrices = {}
    for name in ("P2", "Tr"):
        if name not in rows:
            raise BagError(f"{path}: no {name}; found {', '.join(filter(None, rows)) or 'nothing'}")
        try:
            matrices[name] = np.array(rows[name], dtype=float).reshape(3, 4)
        except ValueError:
            raise BagError(
                f"{path}: {name} is {' '.join(rows[name])!r}, expected the 12 numbers of a 3x4 matrix"
            ) from None
    projection, T_camera0_lidar = matrices["P2"], make_pose(matrices["Tr"][:, :3], matrices["Tr"][:, 3])
    matrix = projection[:, :3]
    # P2 = K [I | t]: what camera 0 sees at x, camera 2 sees at x + t
    T_camera_camera0 = make_pose(np.eye(3), np.linalg.solve(matrix, projection[:, 3]))
    return Calibration(matrix, T_camera_camera0 @ T_camera0_lidar, T_camera0_lidar)


def _read_times(path) -> np.ndarray:
    """Stamps (N,) int64, nanoseconds."""
    try:
        times = np.array(_text(path).split(), dtype=float)
    except ValueError as error:
        raise BagError(f"{path}: {error}, expected one time in seconds a line") from None
    if not len(times) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise BagError(f"{path}: {len(times)} times found that are not all finite and increasing")
    return np.round(times * 1e9).astype(np.int64) + EPOCH_NS


def _read_truth(path: Path, stamps: np.ndarray, calibration: Calibration) -> Trajectory | None:
    """T_map_base of every frame; None if the sequence has no ground truth."""
    if not path.exists():
        return None
    poses = read_kitti_poses(path)
    if len(poses) != len(stamps):
        raise BagError(f"{path}: {len(poses)} poses found, expected {len(stamps)}, one for each time")
    T = calibration.T_camera0_lidar
    return Trajectory(stamps, inverse(T) @ inverse(poses[0]) @ poses @ T)


def _write_static(writer: BagWriter, stamp: int, calibration: Calibration) -> None:
    transforms = {
        ("base_link", "lidar"): np.eye(4),
        ("base_link", "camera_optical_frame"): inverse(calibration.T_camera_lidar),
    }
    writer.tf_static(stamp, transforms)


def _write_frame(writer: BagWriter, source: Sequence, number: int, pose: np.ndarray | None) -> None:
    """One frame: pose if given, scan, image, calibration."""
    stamp = int(source.stamps[number])
    if pose is not None:
        writer.tf(stamp, {("map", "base_link"): pose})
    scan = source.scan(number)
    writer.points("/points", stamp, "lidar", scan[:, :3], scan[:, 3])
    image = source.image(number)
    height, width = image.shape[:2]
    matrix = source.calibration.matrix
    writer.camera_info("/camera/camera_info", stamp, "camera_optical_frame", width, height, matrix)
    writer.image("/camera/image_raw", stamp, "camera_optical_frame", image)


def _read_scan(path: Path) -> np.ndarray:
    """x, y, z [m] and reflectance [0, 1] of the points (N, 4) float32."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror}, expected a scan") from None
    if not data or len(data) % 16:
        raise BagError(f"{path}: truncated: {len(data)} bytes found, expected a multiple of 16")
    return np.frombuffer(data, "<f4").reshape(-1, 4)


def _text(path) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BagError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
