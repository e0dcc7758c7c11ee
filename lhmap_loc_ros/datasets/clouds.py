# SPDX-License-Identifier: Apache-2.0
"""Point cloud files: PLY, PCD, LAS and LAZ, folders of tiles of one of these, and of PCD as Autoware reads them."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from plyfile import PlyData, PlyElement
from pypcd4 import PointCloud

from ..configuration import read_yaml
from ..errors import InputError
from ..outputs import filling
from .decoding import INTENSITY_FIELDS, intensity_scale
from .las import read_las, write_las

TILES_INDEX = "pointcloud_map_metadata.yaml"
_SUFFIXES = (".ply", ".pcd", ".las", ".laz")
_TILES_FOLDER = "pointcloud_map.pcd"
"""Beside the index: Autoware's folder of tiles."""
_FLOAT32_LIMIT_M = 131_072.0
"""It holds the 100 km of MGRS. Beyond it a float32 coordinate is off by more than 4 mm; PCL's points, and so PCD
files, are float32."""
_LONGEST_REASON = 300
_PCD_DATA = "ascii", "binary", "binary_compressed"
_LARGEST_POINT = 2**16
_DEVICE_SCALE = 255.0
"""Full scale of the intensity in PLY and PCD files, as LiDAR drivers have it."""


@dataclass(frozen=True)
class Cloud:
    """Points with what is known about them."""

    xyz: np.ndarray
    """(N, 3) float64, metres."""
    intensity: np.ndarray | None = None
    """(N,) float32 in [0, 1], while a file is read in its own scale."""
    heat: np.ndarray | None = None
    """(N,) float32 in [0, 1]."""

    def __len__(self) -> int:
        return len(self.xyz)

    @staticmethod
    def joined(clouds: list[Cloud]) -> Cloud:
        """All points; what some of the clouds do not know is dropped."""
        if len(clouds) == 1:
            return clouds[0]  # large ones should not be copied

        def column(name):
            values = [getattr(cloud, name) for cloud in clouds]
            return None if any(v is None for v in values) else np.concatenate(values)

        return Cloud(np.concatenate([cloud.xyz for cloud in clouds]), column("intensity"), column("heat"))


def read_cloud(path, scale: float | None = None) -> Cloud:
    """The cloud of a file, or of a folder of tiles; points that are not finite are left out.

    Fields named x, y, z are needed, intensity and heat taken where there are any, also as CloudCompare names them
    (scalar_Intensity). `scale` is the full scale of the intensity in the file; None tells it from all values (1, 255
    or 65535). Raises InputError for files that cannot be used.
    """
    path = Path(path)
    files = [_read_file(file) for file in (_tiles(path) if path.is_dir() else [path])]
    # once for all: a tile of dim points may look as if its full scale were another
    cloud, told = Cloud.joined([cloud for cloud, _ in files]), files[0][1]
    if cloud.intensity is None:
        return cloud
    if not cloud.intensity.any():
        return replace(cloud, intensity=None)  # LAS always has the field; of zeros, it was not filled
    scale = scale or told or intensity_scale(cloud.intensity) or 1.0
    return replace(cloud, intensity=np.clip(cloud.intensity / np.float32(scale), 0, 1))


def write_cloud(path, cloud: Cloud) -> None:
    """Writes a cloud as the suffix of `path` says; an existing file is replaced when the new one is complete.

    Raises InputError for another suffix, or for coordinates too large for the format.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix == ".pcd":
        _check_float32(path, cloud.xyz)
    with filling(path.parent, path) as folder:
        _WRITERS[suffix](folder / path.name, cloud)


def write_tiles(folder, tiles: Iterable[tuple[tuple[float, float], Cloud]], size_m: float) -> None:
    """Writes PCD tiles and their index as Autoware's map loader reads them: `tiles` are corners (x, y) and clouds."""
    index = {"x_resolution": float(size_m), "y_resolution": float(size_m)}
    with filling(folder) as temporary:
        (temporary / _TILES_FOLDER).mkdir()
        for (x, y), cloud in tiles:
            name = f"{x:.0f}_{y:.0f}.pcd" if float(x).is_integer() and float(y).is_integer() else f"{x:.3f}_{y:.3f}.pcd"
            _check_float32(Path(folder) / name, cloud.xyz)
            _write_pcd(temporary / _TILES_FOLDER / name, cloud)
            index[name] = [float(x), float(y)]
        (temporary / TILES_INDEX).write_text(yaml.safe_dump(index, default_flow_style=None, sort_keys=False))


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"{path}: a file of type {suffix or 'none'} found, expected one of {', '.join(_SUFFIXES)}")
    return suffix


def _tiles(folder: Path) -> list[Path]:
    """The tiles that the index names, else all PCD files, else all of another kind."""
    # Autoware keeps the index one level above the tiles
    index = next((f / TILES_INDEX for f in (folder, folder.parent) if (f / TILES_INDEX).exists()), None)
    # the folder of the tiles may have another name
    others = sorted(place for place in folder.iterdir() if place.is_dir()) if index is not None else []
    places = [folder, folder / _TILES_FOLDER, *others]
    if index is None or (index.parent != folder and folder.suffix.lower() != ".pcd"):
        files = sorted(file for place in places[:2] if place.is_dir() for file in place.iterdir())
        clouds = [file for file in files if file.suffix.lower() in _SUFFIXES and file.is_file()]
        found = [file for file in clouds if file.suffix.lower() == ".pcd"] or clouds
        if len({file.suffix.lower() for file in found}) != 1:
            kinds = (
                f"no files of one kind ({', '.join(sorted({file.suffix for file in found}))})" if found else "no tiles"
            )
            raise InputError(f"{folder}: {kinds} found, expected tiles of one of {', '.join(_SUFFIXES)}")
        return found
    names = [str(name) for name in read_yaml(index) if str(name).lower().endswith(".pcd")]
    tiles = [next((place / name for place in places if (place / name).is_file()), None) for name in names]
    missing = [name for name, tile in zip(names, tiles, strict=True) if tile is None]
    if missing or not names:
        wrong = f"{missing[0]} and {len(missing) - 1} others are missing" if missing else "no tiles are named"
        raise InputError(f"{index}: {wrong}, expected the names of PCD files beside it or in {_TILES_FOLDER}")
    return tiles


def _read_file(path: Path) -> tuple[Cloud, float | None]:
    """The cloud, its intensity as it is in the file, and the full scale of that where the file tells."""
    suffix = _suffix(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a point cloud")
    try:
        fields, scale = _READERS[suffix](path)
    except Exception as error:  # a damaged file makes the readers fail in many ways
        why = f"no {error} found" if isinstance(error, KeyError) else " ".join(str(error).split())
        why = (why or type(error).__name__)[:_LONGEST_REASON]
        raise InputError(f"{path}: cannot be read as {suffix[1:].upper()}: {why}") from error
    fields = {name.lower() if name in "XYZ" else name: values for name, values in fields.items()}
    missing = [name for name in "xyz" if name not in fields]
    if missing:
        raise InputError(f"{path}: fields {', '.join(fields) or 'none'} found, expected x, y and z")
    with np.errstate(invalid="ignore"):  # of some NaN
        xyz = np.column_stack([np.asarray(fields[name], np.float64) for name in "xyz"])
    finite = np.isfinite(xyz).all(axis=1)
    plain = {**{name.lower().removeprefix("scalar_"): values for name, values in fields.items()}, **fields}
    intensity, heat = (
        next((np.nan_to_num(np.asarray(plain[name], np.float32)[finite]) for name in names if name in plain), None)
        for names in (INTENSITY_FIELDS, ("heat",))
    )
    return Cloud(xyz[finite], intensity, None if heat is None else np.clip(heat, 0, 1)), scale


def _read_ply(path: Path) -> tuple[dict[str, np.ndarray], None]:
    vertices = PlyData.read(path)["vertex"].data
    return {name: vertices[name] for name in vertices.dtype.names}, None


def _read_pcd(path: Path) -> tuple[dict[str, np.ndarray], None]:
    content = path.read_bytes()
    end = re.search(rb"^data[^\n]*\n", content, re.IGNORECASE | re.MULTILINE)
    if end is None:
        raise ValueError("no line DATA found")
    header, body = _pcd_header(content[: end.end()].decode()), content[end.end() :]
    _check_pcd(header.decode(), body)
    if header.endswith(b"ascii\n"):
        body = re.sub(rb" ?[\r\n]+ ?", b"\n", re.sub(rb"[\t ]+", b" ", body)).strip() + b"\n"
    cloud = PointCloud.from_fileobj(io.BytesIO(header + body))
    data = np.atleast_1d(cloud.pc_data)  # of one point in text
    _check_count(len(data), cloud.metadata.points)
    return {name: data[name] for name in data.dtype.names}, None


def _check_pcd(header: str, body: bytes) -> None:
    """Raises ValueError for a header that tells of more than the file holds."""
    words = {parts[0]: parts[1:] for parts in map(str.split, header.splitlines())}
    kind, points = " ".join(words["DATA"]), int(words["POINTS"][0])
    if kind not in _PCD_DATA:
        raise ValueError(f"data {kind!r} found, expected one of {', '.join(_PCD_DATA)}")
    size = sum(int(of) * int(count) for of, count in zip(words["SIZE"], words["COUNT"], strict=True))
    if not 0 < size <= _LARGEST_POINT or points < 0:
        raise ValueError(f"{points} points of {size} bytes found, expected at most {_LARGEST_POINT}")
    # in text a number takes two bytes, whatever its type
    if points * (size if kind == "binary" else 2) > len(body) + 2 and kind != "binary_compressed":
        raise ValueError(f"{points} points found in {len(body)} bytes")
    packed, unpacked = struct.unpack("<II", body[:8].ljust(8, b"\0"))
    if kind == "binary_compressed" and (unpacked != points * size or packed > len(body) - 8):
        raise ValueError(f"{packed} of {len(body) - 8} bytes, unpacked {unpacked}, found, expected {points * size}")


def _pcd_header(text: str) -> bytes:
    """The header as the format has it, of one in small letters or without COUNT or POINTS, or with a COUNT of 0."""
    lines = (line.split() for line in text.splitlines())
    words = {parts[0].upper(): parts[1:] for parts in lines if parts and not parts[0].startswith("#")}
    # as the first versions have it
    words.setdefault("FIELDS", words.get("COLUMNS", []))
    words["VERSION"] = ["0.7"]
    words["COUNT"] = ["1" if n == "0" else n for n in words.get("COUNT") or ["1"] * len(words["FIELDS"])]
    words["TYPE"] = [kind.upper() for kind in words["TYPE"]]
    words.setdefault("HEIGHT", ["1"])
    words.setdefault("POINTS", [str(int(words["WIDTH"][0]) * int(words["HEIGHT"][0]))])
    words["DATA"] = [kind.lower() for kind in words["DATA"]]
    order = ("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA")
    return "".join(f"{name} {' '.join(words[name])}\n" for name in order if name in words).encode()


def _check_count(found: int, expected: int) -> None:
    """Raises ValueError for a file that was cut off between two points."""
    if found != expected:
        raise ValueError(f"{found} points found, expected {expected}")


def _check_float32(path: Path, xyz: np.ndarray) -> None:
    reach = float(np.abs(xyz).max(initial=0))
    if reach > _FLOAT32_LIMIT_M:
        raise InputError(
            f"{path}: coordinates up to {reach:.0f} m found, expected at most {_FLOAT32_LIMIT_M:.0f} m in PCD, whose "
            "numbers are float32; write LAZ or PLY, or shift them (--around-origin)"
        )


def _columns(cloud: Cloud, scale: float) -> dict[str, np.ndarray]:
    columns = {}
    if cloud.intensity is not None:
        columns["intensity"] = cloud.intensity * np.float32(scale)
    if cloud.heat is not None:
        columns["heat"] = cloud.heat
    return columns


def _write_ply(path: Path, cloud: Cloud) -> None:
    columns = _columns(cloud, _DEVICE_SCALE)
    rows = np.empty(len(cloud), [(name, "f8") for name in "xyz"] + [(name, "f4") for name in columns])
    for k, name in enumerate("xyz"):
        rows[name] = cloud.xyz[:, k]
    for name, values in columns.items():
        rows[name] = values
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(path)


def _write_pcd(path: Path, cloud: Cloud) -> None:
    columns = _columns(cloud, _DEVICE_SCALE)
    values = [*cloud.xyz.T, *columns.values()]
    fields = ("x", "y", "z", *columns)
    PointCloud.from_points([v.astype(np.float32) for v in values], fields, (np.float32,) * len(fields)).save(path)


def _write_las(path: Path, cloud: Cloud) -> None:
    write_las(path, cloud.xyz, cloud.intensity, cloud.heat)


_READERS = {".ply": _read_ply, ".pcd": _read_pcd, ".las": read_las, ".laz": read_las}
_WRITERS = {".ply": _write_ply, ".pcd": _write_pcd, ".las": _write_las, ".laz": _write_las}
