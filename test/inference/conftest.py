# SPDX-License-Identifier: Apache-2.0
"""Inputs for networks that resemble real ones: two views of one textured street."""

import numpy as np
import pytest
from helpers.shipped_models import SHIPPED

from lhmap_loc_ros.geometry import Camera
from lhmap_loc_ros.inference import load_model
from lhmap_loc_ros.localization.features import render_map


def _street(rng) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) in the camera's axes and their brightness (N,): ground, two walls, something at the end."""
    a, b = rng.random((2, 60_000))
    ground = np.stack([8 * a - 4, np.full_like(a, 1.6), 3 + 40 * b], 1)
    walls = np.stack([np.where(a < 0.5, -4.0, 4.0), 6 * rng.random(len(a)) - 4.4, 3 + 40 * b], 1)
    end = np.stack([8 * a - 4, 6 * b - 4.4, np.full_like(a, 43.0)], 1)
    points = np.concatenate([ground, walls, end])
    brightness = 0.5 + 0.25 * np.sin(points @ (2.1, 3.3, 1.1)) + 0.25 * np.sin(points @ (-1.3, 5.2, 2.7))
    return points.astype(np.float32), brightness.astype(np.float32)


def _view(points, brightness, size, shift) -> np.ndarray:
    height, width = size
    camera = Camera(width, height, 0.58 * width, 0.58 * width, (width - 1) / 2, (height - 1) / 2)
    pose = np.eye(4)
    pose[:3, 3] = shift
    return render_map(points, brightness, pose, camera, 0.2, 60.0).channels


def _cells(shapes: dict[str, tuple], rng) -> dict[str, np.ndarray]:
    """Features of unit length, and which cells are seen, for a place head with inputs of these shapes."""
    out = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    out = {name: values / np.linalg.norm(values, axis=1, keepdims=True) for name, values in out.items()}
    out["seen"] = np.clip(rng.normal(0.7, 0.4, shapes["seen"]), 0, 1).astype(np.float32)
    return out


def _coded(shapes: dict[str, dict[str, tuple]], rng) -> dict[str, dict[str, np.ndarray]]:
    """What the two networks of codes take: features as small as they are, and 20 codes."""
    image, decoder = ({k: rng.normal(size=s).astype(np.float32) for k, s in own.items()} for own in shapes.values())
    decoder["kept"] = np.zeros_like(decoder["kept"])
    decoder["kept"][:, :20] = 1
    scaled = {name: 0.1 * values for name, values in image.items()}
    return dict(zip(shapes, (scaled, decoder), strict=True))


@pytest.fixture(scope="session")
def inputs() -> dict:
    """By network and input, arrays as the localizer and the map builder hand them over; features are left out.

    For the place heads and the networks of codes, which take several inputs, those of each by name.
    """
    rng = np.random.default_rng(0)
    street = _street(rng)
    shapes = {name: load_model(name, "onnxruntime", threads=1).inputs for name in SHIPPED}
    size = shapes["flow_image"]["image"][2:]
    grey = _view(*street, size, (0, 0, 0))[2]
    image = np.clip(np.stack([0.8 * grey + 0.1, grey, 0.9 * grey]) + rng.normal(0, 0.02, (3, *size)), 0, 1)
    cells = {name: _cells(shapes[name], rng) for name in ("place_image", "place_map")}
    return {
        **cells,
        **_coded({name: shapes[name] for name in ("codes_image", "codes_decoder")}, rng),
        "image": image[None].astype(np.float32),
        "map": _view(*street, size, (0.2, 0.05, -0.3))[None],
        "heat": _view(*street, shapes["heat"]["map"][2:], (0, 0, 0))[None],
    }
