# SPDX-License-Identifier: Apache-2.0
"""Logs of the Argoverse 2 Sensor dataset.

Layout read: ``LOG/sensors/{lidar/STAMP.feather, cameras/CAMERA/STAMP.jpg}``, ``LOG/city_SE3_egovehicle.feather`` and
``LOG/calibration/{intrinsics, egovehicle_SE3_sensor}.feather``; stamps are nanoseconds (Wilson et al., "Argoverse 2:
Next Generation Datasets for Self-Driving Perception and Forecasting", NeurIPS 2021, and its user guide).

Frames: `base_link` is the egovehicle (rear axle; x forward, y left, z up), `lidar` the upper of the two LiDARs, `map`
the frame of the city, which the logs of one city share. Sweeps come compensated for motion, in the egovehicle's frame
at their stamp; images come free of distortion, so k1 to k3 of the intrinsics are history.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import BagError, InputError
from ..geometry import from_quaternion, inverse, transform
from .camera_lidar import Calibration, numbered_files, read_image
from .trajectory import Trajectory

LIDAR = "up_lidar"
_POSE = ("qx", "qy", "qz", "qw", "tx_m", "ty_m", "tz_m")


class SensorLog:
    """A log on disk, a `CameraLidarDrive`; raises BagError if something is missing or damaged.

    Cameras and LiDAR are not simultaneous; each sweep and each image has its own stamp, and poses are interpolated.
    """

    def __init__(self, log, camera: str = "ring_front_center"):
        self.folder = Path(log)
        if not self.folder.is_dir():
            raise BagError(f"{self.folder}: no such log")
        cameras = self.folder / "sensors" / "cameras"
        if not (cameras / camera).is_dir():
            there = ", ".join(sorted(path.name for path in cameras.glob("*"))) or "none"
            raise BagError(f"{cameras / camera}: no such camera; there are: {there}")
        self.calibration, self._size = read_calibration(self.folder / "calibration", camera)
        self._scans = numbered_files(self.folder / "sensors" / "lidar", (".feather",))
        self._images = numbered_files(cameras / camera, (".jpg", ".png"))
        self.scan_stamps = np.array(sorted(self._scans), dtype=np.int64)
        """(N,) int64, nanoseconds."""
        self.image_stamps = np.array(sorted(self._images), dtype=np.int64)
        """(M,) int64, nanoseconds."""
        self.truth_path = self.folder / "city_SE3_egovehicle.feather"
        self.truth = self._read_truth()
        """T_map_base at the stamps of the data set, denser than scans and images; None if there is no file."""

    def scan(self, number: int) -> np.ndarray:
        """x, y, z [m], LiDAR frame, and intensity [0, 1] of the points (n, 4) float32."""
        path = self._scans[int(self.scan_stamps[number])]
        columns = read_columns(path, ("x", "y", "z", "intensity"))
        # half floats: 6 cm apart beyond 64 m
        scan = np.column_stack([columns[name].astype(np.float32) for name in ("x", "y", "z", "intensity")])
        scan = scan[np.isfinite(scan).all(axis=1)]
        # range images and distances make sense only around the sensor
        scan[:, :3] = transform(inverse(self.calibration.T_base_lidar), scan[:, :3])
        scan[:, 3] /= 255
        return scan

    def image(self, number: int) -> np.ndarray:
        """An image of the camera (H, W, 3) uint8 RGB."""
        path = self._images[int(self.image_stamps[number])]
        image = read_image(path)
        if image.shape[1::-1] != self._size:
            found = "x".join(map(str, image.shape[1::-1]))
            raise BagError(f"{path}: {found} pixels found, the calibration says {'x'.join(map(str, self._size))}")
        return image

    def _read_truth(self) -> Trajectory | None:
        if not self.truth_path.exists():
            return None
        columns = read_columns(self.truth_path, ("timestamp_ns", *_POSE))
        stamps = columns["timestamp_ns"]
        if not len(stamps):
            raise BagError(f"{self.truth_path}: holds no poses")
        poses = [_pose(self.truth_path, columns, row) for row in range(len(stamps))]
        truth = Trajectory.sorted(stamps, poses)
        for name, sensed in (("sweep", self.scan_stamps), ("image", self.image_stamps)):
            outside = sensed[~truth.covers(sensed)]
            if len(outside):
                first, last = truth.stamps_ns[[0, -1]]
                raise BagError(f"{self.truth_path}: no pose for {name} {outside[0]}; the poses span {first} to {last}")
        return truth


def read_calibration(folder: Path, camera: str) -> tuple[Calibration, tuple[int, int]]:
    """The calibration of a camera and the LiDAR, and the width and height of the images; raises BagError."""
    path = folder / "intrinsics.feather"
    names = ("fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px")
    columns = read_columns(path, ("sensor_name", *names))
    row = _row(path, columns, camera)
    try:
        fx, fy, cx, cy, width, height = (float(columns[name][row]) for name in names)
    except (TypeError, ValueError):
        fx = np.nan
    if not (np.isfinite(fx) and np.isfinite([fy, cx, cy, width, height]).all() and min(fx, fy) > 0):
        raise BagError(f"{path}: {camera} is not calibrated: {', '.join(f'{n} {columns[n][row]}' for n in names)}")
    path = folder / "egovehicle_SE3_sensor.feather"
    columns = read_columns(path, ("sensor_name", *_POSE))
    T_base_camera, T_base_lidar = (_pose(path, columns, _row(path, columns, name)) for name in (camera, LIDAR))
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    return Calibration(matrix, T_base_camera, T_base_lidar), (int(width), int(height))


def read_columns(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns of a Feather file (Arrow IPC), by name.

    Raises BagError for a file that is missing, damaged or without one of the columns, InputError without pyarrow.
    """
    try:
        from pyarrow import ArrowException, ipc
    except ImportError:
        raise InputError(
            f"{path}: pyarrow is needed to read it and is not installed: pip install 'lhmap_loc_ros[argoverse]'"
        ) from None
    try:
        with path.open("rb") as file:
            table = ipc.open_file(file).read_all()
    except OSError as error:
        raise BagError(f"{path}: cannot be read: {error.strerror or error}, expected a Feather file") from None
    except ArrowException as error:
        raise BagError(f"{path}: truncated, or no Feather file: {' '.join(str(error).split())}") from None
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise BagError(f"{path}: no column {', '.join(missing)}; found {', '.join(table.column_names) or 'none'}")
    return {name: table.column(name).to_numpy() for name in names}


def _row(path: Path, columns: dict[str, np.ndarray], sensor: str) -> int:
    """The row of a sensor."""
    rows = np.flatnonzero(columns["sensor_name"] == sensor)
    if not len(rows):
        there = ", ".join(map(str, columns["sensor_name"])) or "none"
        raise BagError(f"{path}: no sensor {sensor}; there are: {there}")
    return int(rows[0])


def _pose(path: Path, columns: dict[str, np.ndarray], row: int) -> np.ndarray:
    """The pose (4, 4) in a row."""
    values = [columns[name][row] for name in _POSE]
    try:
        return from_quaternion(values[4:], values[:4])
    except InputError as error:
        raise BagError(f"{path}: row {row}: {error}") from None
