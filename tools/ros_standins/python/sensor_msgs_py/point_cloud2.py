# SPDX-License-Identifier: Apache-2.0
"""PointCloud2 messages to and from NumPy arrays, upstream signatures."""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

_DATATYPES = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}
DUMMY_FIELD_PREFIX = "unnamed_field"


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """The structured dtype of a cloud; a field with a count above one becomes `name_0`, `name_1`, ..."""
    names, offsets, formats = [], [], []
    for i, field in enumerate(fields):
        datatype = _DATATYPES[field.datatype]
        name = field.name or f"{DUMMY_FIELD_PREFIX}_{i}"
        for k in range(field.count):
            names.append(f"{name}_{k}" if field.count > 1 else name)
            offsets.append(field.offset + k * datatype.itemsize)
            formats.append(datatype)
    description = {"names": names, "formats": formats, "offsets": offsets}
    if point_step is not None:
        description["itemsize"] = point_step
    return np.dtype(description)


def read_points(
    cloud: PointCloud2,
    field_names: list[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """The points as a structured array (N,), or (height, width) if asked for; only `field_names` if given."""
    points = np.ndarray(
        shape=(cloud.width * cloud.height,),
        dtype=dtype_from_fields(cloud.fields, point_step=cloud.point_step),
        buffer=cloud.data,
    )
    if field_names is not None:
        missing = [name for name in field_names if name not in points.dtype.names]
        assert not missing, "Requests field is not in the fields of the cloud!"
        points = points[list(field_names)]
    if bool(sys.byteorder != "little") != bool(cloud.is_bigendian):
        points = points.byteswap(inplace=False)
    if skip_nans:
        keep = np.ones(len(points), dtype=bool)
        for name in points.dtype.names:
            keep &= ~np.isnan(points[name])
        points = points[keep]
    if uvs is not None:
        points = points[np.asarray(uvs)]
    return points.reshape(cloud.height, cloud.width) if reshape_organized_cloud else points


def read_points_numpy(
    cloud: PointCloud2,
    field_names: list[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """As `read_points`, as an unstructured array (N, fields); all fields must have one type."""
    points = read_points(cloud, field_names, skip_nans, uvs, reshape_organized_cloud)
    kinds = {points.dtype[name] for name in points.dtype.names}
    assert len(kinds) == 1, "All fields need to have the same datatype. Use `read_points()` otherwise."
    return np.stack([points[name] for name in points.dtype.names], axis=-1)


def create_cloud(
    header: Header,
    fields: Iterable[PointField],
    points: Iterable,
    step: int | None = None,
    point_step: int | None = None,
) -> PointCloud2:
    """A cloud of structured points (N,) or (H, W), or of rows (N, fields) of one type."""
    point_step = point_step if point_step is not None else step
    dtype = dtype_from_fields(fields, point_step)
    points = np.asarray(points)
    if points.dtype.names is None:
        rows = points.reshape(-1, points.shape[-1]) if points.size else points.reshape(0, len(dtype.names))
        structured = np.zeros(len(rows), dtype)
        for column, name in enumerate(dtype.names):
            structured[name] = rows[:, column]
        points = structured
    else:
        assert points.dtype == dtype, "PointFields and structured NumPy array dtype do not match for all fields!"
    height, width = (1, len(points)) if points.ndim == 1 else points.shape
    cloud = PointCloud2(
        header=header,
        height=height,
        width=width,
        is_dense=False,
        is_bigendian=sys.byteorder != "little",
        fields=list(fields),
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * width,
    )
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(points).tobytes())
    cloud.data = data
    return cloud


def create_cloud_xyz32(header: Header, points: Iterable, step: int | None = None) -> PointCloud2:
    """A cloud with the float32 fields x, y and z of rows (N, 3)."""
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate("xyz")]
    return create_cloud(header, fields, points, step)
