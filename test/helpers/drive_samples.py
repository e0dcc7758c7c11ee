# SPDX-License-Identifier: Apache-2.0
"""Tiny drives in the layouts of KITTI raw and Argoverse 2: made-up numbers, true formats.

In both a car bends past a wall on its left that LiDAR and camera see; the pictures show its first point, the
landmark, as a bright spot.
"""

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from lhmap_loc_ros.geometry import inverse, make_pose, se3_exp, se3_log, transform

WIDTH, HEIGHT = 160, 96
OPTICAL = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]])  # x forward, y left, z up, seen by a camera

DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0042_sync"
RAW_FRAMES = 6
RAW_PERIOD_S, RAW_SWEEP_S = 0.1, 0.1035
K = np.array([[150.0, 0, 81], [0, 150, 46], [0, 0, 1]])
P2 = K @ np.column_stack([np.eye(3), [0.06, 0.001, 0.003]])
R_RECT = Rotation.from_rotvec([0.01, -0.008, 0.004]).as_matrix()
T_CAMERA0_VELO = make_pose(OPTICAL, [0.01, -0.08, -0.27]) @ se3_exp([0, 0, 0, 0.01, -0.02, 0.005])
T_VELO_IMU = make_pose(Rotation.from_rotvec([0.015, 0.002, -0.001]), [-0.81, 0.32, -0.8])
LATITUDE, LONGITUDE, ALTITUDE, START_YAW = 49.0, 8.4, 110.0, 2.0


def wall() -> np.ndarray:
    """Points (N, 3) of a wall to the left ahead of the start, the landmark first; metres, LiDAR frame of the start."""
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(5, 25, 4000), np.full(4000, 5.0), rng.uniform(-1, 3, 4000)])
    points[0] = (22.0, 5.0, 0.5)
    return points


def raw_imu_pose(frame: int) -> np.ndarray:
    """T_world_imu: 1 m a frame, 3 degrees to the left each, with a little roll and pitch."""
    start = make_pose(Rotation.from_euler("ZYX", [START_YAW, -0.02, 0.03]), [0, 0, ALTITUDE])
    return start @ se3_exp(frame * np.array([1.0, 0, 0.01, 0.001, 0.002, np.radians(3)]))


def raw_velo_pose(frame: int) -> np.ndarray:
    """The Velodyne in its pose at frame 0."""
    T = inverse(T_VELO_IMU)
    return inverse(raw_imu_pose(0) @ T) @ raw_imu_pose(frame) @ T


def raw_sweep(frame: int) -> np.ndarray:
    """The wall (N, 3) as a Velodyne on the moving car measures it, each point in the frame of its own moment.

    It turns clockwise, and faces forward at the frame's stamp.
    """
    still = transform(inverse(raw_velo_pose(frame)), wall())
    return skewed(still, se3_log(inverse(raw_velo_pose(frame)) @ raw_velo_pose(frame + 1)) / RAW_PERIOD_S)


def skewed(still: np.ndarray, twist: np.ndarray) -> np.ndarray:
    """Points (N, 3) seen from a Velodyne that stands, as one measures them that moves with a twist (6) [m/s, rad/s]."""
    seen, (v, w) = still, np.split(twist * RAW_SWEEP_S, 2)
    for _ in range(3):
        # the direction depends on the moment, and the moment on the direction
        late = -np.arctan2(seen[:, 1], seen[:, 0])[:, None] / (2 * np.pi)
        moved = late * v + late**2 / 2 * np.cross(w, v)
        seen = Rotation.from_rotvec(late * w).inv().apply(still - moved)
    return seen


def raw_stamp(frame: int) -> str:
    """The time of an image."""
    return f"2011-09-26 13:02:{25 + frame // 10:02d}.{frame % 10}64389445"


def _packet(frame: int) -> str:
    """A GPS/IMU packet: near the start a degree is as long as on a sphere."""
    pose = raw_imu_pose(frame)
    east, north, up = pose[:3, 3]
    latitude = LATITUDE + np.degrees(north / 6378137)
    longitude = LONGITUDE + np.degrees(east / 6378137 / np.cos(np.radians(LATITUDE)))
    yaw, pitch, roll = Rotation.from_matrix(pose[:3, :3]).as_euler("ZYX")
    rest = " ".join(["0.1"] * 19 + ["4", "8", "4", "4", "0"])
    return f"{latitude:.12f} {longitude:.12f} {up:.9f} {roll:.12f} {pitch:.12f} {yaw:.12f} {rest}\n"


def _picture(uv) -> np.ndarray:
    """A dark picture (BGR) with a spot at a pixel."""
    image = np.full((HEIGHT, WIDTH, 3), (60, 20, 20), np.uint8)
    cv2.circle(image, [int(round(float(v))) for v in uv], 2, (255, 255, 255), -1)
    return image


def spot(image: np.ndarray) -> np.ndarray:
    """Where the spot of a picture is: u, v [px]."""
    rows, columns = np.nonzero(image.min(axis=2) > 150)
    return np.array([columns.mean(), rows.mean()])


def _pinhole(matrix, points) -> np.ndarray:
    uvw = points @ matrix[:, :3].T + (matrix[:, 3] if matrix.shape[1] == 4 else 0)
    return uvw[:, :2] / uvw[:, 2:]


def write_raw(root, suffix=".png"):
    """A KITTI raw drive; gives its root."""
    folder = root / DATE / DRIVE
    for name in ("image_02", "velodyne_points", "oxts"):
        (folder / name / "data").mkdir(parents=True)
        times = "".join(raw_stamp(k) + "\n" for k in range(RAW_FRAMES))
        (folder / name / "timestamps.txt").write_text(times)

    def rows(**matrices):
        return "calib_time: 09-Jan-2012 13:57:47\n" + "".join(
            f"{name}: {' '.join(f'{v:.6e}' for v in np.ravel(matrix))}\n" for name, matrix in matrices.items()
        )

    calib = root / DATE
    (calib / "calib_cam_to_cam.txt").write_text(rows(R_rect_00=R_RECT, P_rect_00=K @ np.eye(3, 4), P_rect_02=P2))
    velo = rows(R=T_CAMERA0_VELO[:3, :3], T=T_CAMERA0_VELO[:3, 3], delta_f=[0, 0])
    (calib / "calib_velo_to_cam.txt").write_text(velo)
    (calib / "calib_imu_to_velo.txt").write_text(rows(R=T_VELO_IMU[:3, :3], T=T_VELO_IMU[:3, 3]))
    for k in range(RAW_FRAMES):
        seen = transform(inverse(raw_velo_pose(k)), wall())
        scan = np.column_stack([raw_sweep(k), np.full(len(seen), 0.25)]).astype("<f4")
        scan.tofile(folder / "velodyne_points" / "data" / f"{k:010d}.bin")
        uv = _pinhole(P2, transform(T_CAMERA0_VELO, seen[:1]) @ R_RECT.T)[0]
        cv2.imwrite(str(folder / "image_02" / "data" / f"{k:010d}{suffix}"), _picture(uv))
        (folder / "oxts" / "data" / f"{k:010d}.txt").write_text(_packet(k))
    return root


START_NS = 315_968_112_437_425_433
SWEEPS, PICTURES = 4, 8
T_EGO_CAMERA = make_pose(OPTICAL.T, [1.6, 0.0, 1.4]) @ se3_exp([0, 0, 0, 0.01, -0.02, 0.03])
T_EGO_LIDAR = make_pose(Rotation.from_rotvec([0, 0, 0.02]), [1.35, 0.0, 1.64])
T_CITY_START = make_pose(Rotation.from_euler("ZYX", [-1.2, 0.01, 0.02]), [747.4, 1275.3, -24.2])
SWEEP_NS, PICTURE_NS, LATE_NS = 100_000_000, 50_000_000, 17_000_000


def ego_pose(stamp_ns: int) -> np.ndarray:
    """T_city_ego: 15 m/s, 20 degrees a second to the right, so that what is on the left moves fast."""
    return T_CITY_START @ se3_exp((stamp_ns - START_NS) / 1e9 * np.array([15.0, 0, 0, 0, 0, -np.radians(20)]))


def city_wall() -> np.ndarray:
    """The wall in the city's frame."""
    return transform(T_CITY_START @ T_EGO_LIDAR, wall())


def write_feather(path, **columns):
    """A table as the data set stores them: Arrow IPC, compressed."""
    import pyarrow as pa

    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)


def pose_columns(poses) -> dict[str, np.ndarray]:
    """Poses as columns, the real part of the quaternion first."""
    quaternions = np.roll(Rotation.from_matrix([p[:3, :3] for p in poses]).as_quat(), 1, axis=1)
    values = np.column_stack([quaternions, [p[:3, 3] for p in poses]])
    return dict(zip(("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m"), values.T, strict=True))


def intrinsics(**changed) -> dict[str, list]:
    """The columns of intrinsics.feather for two cameras."""
    columns = {
        "sensor_name": ["ring_front_left", "ring_front_center"], "fx_px": [90.0, 150.0], "fy_px": [90.0, 150.0],
        "cx_px": [80.0, 81.0], "cy_px": [48.0, 46.0], "k1": [-0.3, -0.3], "k2": [-0.2, -0.2], "k3": [0.3, 0.3],
        "height_px": [HEIGHT, HEIGHT], "width_px": [WIDTH, WIDTH],
    }  # fmt: skip
    return {**columns, **changed}


def write_argoverse2(log):
    """An Argoverse 2 log; gives its folder."""
    stamps = START_NS + np.arange(-20, 450, 10) * 1_000_000
    write_feather(
        log / "city_SE3_egovehicle.feather", timestamp_ns=stamps, **pose_columns([ego_pose(s) for s in stamps])
    )
    write_feather(log / "calibration" / "intrinsics.feather", **intrinsics())
    sensors = ["ring_front_left", "ring_front_center", "up_lidar"]
    poses = pose_columns([np.eye(4), T_EGO_CAMERA, T_EGO_LIDAR])
    write_feather(log / "calibration" / "egovehicle_SE3_sensor.feather", sensor_name=sensors, **poses)
    for k in range(SWEEPS):
        stamp = START_NS + k * SWEEP_NS
        x, y, z = transform(inverse(ego_pose(stamp)), city_wall()).astype(np.float16).T
        n = len(x)
        write_feather(
            log / "sensors" / "lidar" / f"{stamp}.feather",
            x=x, y=y, z=z, intensity=np.full(n, 51, np.uint8), laser_number=np.zeros(n, np.uint8),
            offset_ns=np.arange(n, dtype=np.int32),
        )  # fmt: skip
    folder = log / "sensors" / "cameras" / "ring_front_center"
    folder.mkdir(parents=True)
    for k in range(PICTURES):
        stamp = START_NS + k * PICTURE_NS + LATE_NS
        seen = transform(inverse(ego_pose(stamp) @ T_EGO_CAMERA), city_wall()[:1])
        cv2.imwrite(str(folder / f"{stamp}.jpg"), _picture(_pinhole(K, seen)[0]), [cv2.IMWRITE_JPEG_QUALITY, 100])
    return log
