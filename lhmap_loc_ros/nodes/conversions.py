# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays and back. What a message must not hold raises InputError: what was found, what was expected."""

from __future__ import annotations

import struct
from array import array
from importlib.util import find_spec

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseStamped,
    PoseWithCovariance,
    Quaternion,
    Transform,
    TransformStamped,
    Vector3,
)
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header
from tf_transformations import quaternion_from_matrix, quaternion_matrix

from ..datasets.decoding import ENCODINGS, decode_compressed_image, decode_image
from ..errors import InputError
from ..geometry import check_pose
from ..lhmap import MapPoints

SECOND_NS = 1_000_000_000

CLOUD_FIELDS = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(("x", "y", "z", "intensity"))
]
"""The fields of a published map; `intensity` holds the heat."""


def to_ns(stamp: Time) -> int:
    """A stamp as integer nanoseconds."""
    return stamp.sec * SECOND_NS + stamp.nanosec


def to_stamp(nanoseconds: int) -> Time:
    """Integer nanoseconds as a stamp; before 1970 is no stamp."""
    return Time(sec=int(nanoseconds // SECOND_NS), nanosec=int(nanoseconds % SECOND_NS))


def header(stamp_ns: int, frame: str) -> Header:
    """A header of a stamp [ns] and a frame."""
    return Header(stamp=to_stamp(stamp_ns), frame_id=frame)


def serialized_header(data: bytes) -> tuple[int, str]:
    """Stamp [ns] and frame of a serialized message that begins with a header; raises InputError if it is none."""
    try:
        # four bytes say how the rest is encoded; then seconds, nanoseconds, and a text with its length and a zero
        order = "<" if data[1] & 1 else ">"
        seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", data, 4)
        frame = data[16 : 16 + length]
        if len(frame) < length:
            raise ValueError("the frame's name is cut off")
        return seconds * SECOND_NS + nanoseconds, frame.rstrip(b"\0").decode()
    except (IndexError, struct.error, ValueError) as error:
        raise InputError(f"a message of {len(data)} bytes has no readable header: {error}") from None


def read_image(data: bytes, kind: type[Image] | type[CompressedImage]) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a serialized message; InputError as of `image_to_array`, or if it is none."""
    try:
        message = deserialize_message(data, kind)
    except Exception as error:  # of a type that is the middleware's own
        raise InputError(f"{len(data)} bytes are no {kind.__name__}: {error}") from None
    return image_to_array(message)


def image_to_array(message: Image | CompressedImage) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB; raises InputError for an unknown encoding, wrong sizes, broken data.

    What a bag's images are read by reads these too, so that both give the same pixels. What it does not know is left to
    cv_bridge, where that is installed.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed_image(message)
    known = message.encoding.strip().lower() in ENCODINGS or find_spec("cv_bridge") is None
    return decode_image(message) if known else _by_cv_bridge(message)


def _by_cv_bridge(message: Image) -> np.ndarray:
    try:
        # only where it is needed: its binary cannot be loaded beside a NumPy of another generation
        from cv_bridge import CvBridge

        return CvBridge().imgmsg_to_cv2(message, "rgb8")
    except Exception as error:  # of its binary, of types of its own
        raise InputError(
            f"image encoding {message.encoding!r} found, which cv_bridge does not make rgb8 ({error}); expected one of "
            f"{', '.join(ENCODINGS)}"
        ) from None


def array_to_image(pixels: np.ndarray, head: Header) -> Image:
    """An rgb8 message of pixels (H, W, 3) uint8."""
    message = Image(header=head, height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8")
    message.step = 3 * pixels.shape[1]
    message.data = array("B", pixels.tobytes())
    return message


def pose_to_matrix(pose: Pose) -> np.ndarray:
    """A pose (4, 4); raises InputError if it is not finite or its quaternion is zero."""
    return _to_matrix(pose.position, pose.orientation)


def transform_to_matrix(transform: Transform) -> np.ndarray:
    """The pose (4, 4) of the child frame in the parent frame; raises InputError as `pose_to_matrix`."""
    return _to_matrix(transform.translation, transform.rotation)


def _to_matrix(position: Point | Vector3, orientation: Quaternion) -> np.ndarray:
    p, q = position, orientation
    translation, quaternion = check_pose((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
    matrix = quaternion_matrix(quaternion)
    matrix[:3, 3] = translation
    return matrix


def matrix_to_pose(matrix: np.ndarray) -> Pose:
    """The message of a pose (4, 4)."""
    pose = Pose()
    _fill(pose.position, pose.orientation, matrix)
    return pose


def matrix_to_pose_stamped(matrix: np.ndarray, head: Header) -> PoseStamped:
    """The stamped message of a pose (4, 4)."""
    return PoseStamped(header=head, pose=matrix_to_pose(matrix))


def matrix_to_transform(matrix: np.ndarray, head: Header, child: str) -> TransformStamped:
    """The transform of `child` at the pose (4, 4) in the header's frame."""
    message = TransformStamped(header=head, child_frame_id=child)
    _fill(message.transform.translation, message.transform.rotation, matrix)
    return message


def _fill(position: Point | Vector3, orientation: Quaternion, matrix: np.ndarray) -> None:
    position.x, position.y, position.z = matrix[:3, 3].tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = map(float, quaternion_from_matrix(matrix))


def to_pose_with_covariance(matrix: np.ndarray, covariance: np.ndarray) -> PoseWithCovariance:
    """The message of a pose (4, 4) and its covariance (6, 6) in the frame of the body.

    ROS gives it about the axes of the parent frame: position x, y, z, then rotation about the fixed axes.
    """
    turn = _turn(matrix)
    message = PoseWithCovariance(pose=matrix_to_pose(matrix))
    message.covariance = (turn @ covariance @ turn.T).ravel()
    return message


def from_pose_with_covariance(message: PoseWithCovariance) -> tuple[np.ndarray, np.ndarray]:
    """The pose (4, 4) and its covariance (6, 6) in the frame of the body; raises InputError if not finite."""
    matrix = pose_to_matrix(message.pose)
    covariance = np.array(message.covariance, dtype=float).reshape(6, 6)
    if not np.isfinite(covariance).all():
        raise InputError("covariance of the pose is not finite")
    return matrix, to_body(matrix, covariance)


def to_body(matrix: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """A covariance (6, 6) about the axes of the parent frame, in the frame of the body at the pose (4, 4)."""
    turn = _turn(matrix)
    return turn.T @ covariance @ turn


def _turn(matrix: np.ndarray) -> np.ndarray:
    """Takes a tangent vector (6) from the axes of the body to those of the parent frame."""
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = matrix[:3, :3]
    return turn


MAP_CLOUD_POINTS = 300_000
"""`map_cloud` has at most so many, of a larger map those of the greatest heat: 5 MB, which viewers draw smoothly."""


def map_to_cloud(points: MapPoints, head: Header, origin=(0.0, 0.0, 0.0)) -> PointCloud2:
    """A cloud of map points around `origin` (3,) [m] in the map frame, heat as intensity, as float32 [m]."""
    rows = np.empty((len(points), 4), np.float32)
    rows[:, :3] = points.points + (points.origin - origin)
    rows[:, 3] = points.heat
    return point_cloud2.create_cloud(head, CLOUD_FIELDS, rows.view(_CLOUD_DTYPE).ravel())


_CLOUD_DTYPE = point_cloud2.dtype_from_fields(CLOUD_FIELDS)
