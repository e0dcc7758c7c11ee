#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How often the views of a map that look most like an image are of its place: recall without any verification.

    tools/place_recall.py MAP BAG [--truth FILE] [--frames 0-9999/20] [--field 50] [--stored] [--json FILE]

Views are drawn every 2 m along the mapped path, in eight directions, 1.6 m above it. Beside the place network: the
means of the encoders' features by columns, which needs no learning, and chance. --field cuts images to so many degrees
across. --stored compares with what `lhmap places` stored in the map, instead of drawing views.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from lhmap_loc_ros.console import print_table
from lhmap_loc_ros.evaluation.bag_queries import BagQueries
from lhmap_loc_ros.geometry import distance_along
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.places.database import PlaceDatabase
from lhmap_loc_ros.places.describe import PlaceDescriber
from lhmap_loc_ros.places.locate import check_places
from lhmap_loc_ros.places.views import level, map_views, view_of
from lhmap_loc_ros.training.place_material import around
from lhmap_loc_ros.training.place_recall import chance, column_means, recalls

SPACING_M, HEIGHT_M, RADIUS_M, COLUMNS = 2.0, 1.6, 60.0, 5


def planar(T_map_view: np.ndarray) -> list[float]:
    """x, y, z [m] and heading [rad]."""
    return [*T_map_view[:3, 3], np.arctan2(T_map_view[1, 2], T_map_view[0, 2])]


def described(head, features: np.ndarray, seen: np.ndarray) -> dict[str, np.ndarray]:
    """Descriptors of an image or a view by a head of the network, and the baseline's."""
    return {"network": head(features, seen), "column means": column_means(features[None], seen[None], COLUMNS)[0]}


def database(lhmap: LHMap, describer: PlaceDescriber) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """Descriptors of all views, and their poses (N, 4)."""
    path = np.asarray(lhmap.metadata.path, dtype=float)
    along = distance_along(path[:, :3])
    found, poses = [], []
    for x, y, z, yaw in path[np.searchsorted(along, np.arange(0, along[-1], SPACING_M))]:
        position = np.array([x, y, z + HEIGHT_M])
        places = around(position, yaw)
        for view in map_views(lhmap.crop(position, RADIUS_M), places):
            found.append(described(describer.of_view, describer.encoder.map(view), view.seen))
        poses += [planar(pose) for pose in places]
    return found, np.array(poses)


def narrowed(image, camera, field_deg: float):
    """The middle of an image, so many degrees across."""
    width = min(camera.width, round(2 * camera.fx * np.tan(np.radians(field_deg / 2))))
    left = (camera.width - width) // 2
    return np.ascontiguousarray(image[:, left : left + width]), camera.cropped(left, 0, width, camera.height)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("bag", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--frames", default="0-9999/20")
    parser.add_argument("--field", type=float, default=180.0)
    parser.add_argument("--stored", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    describer = PlaceDescriber()
    with LHMap.open(args.map) as lhmap, BagQueries(args.bag, lhmap, args.truth, args.frames) as queries:
        began = time.perf_counter()
        if args.stored:
            check_places(lhmap)
            stored = PlaceDatabase.of(lhmap, describer.sha256)
            places = np.repeat(stored.positions, stored.headings, axis=0)
            view_poses = np.column_stack([places, stored.view_yaws().ravel()])
        else:
            views, view_poses = database(lhmap, describer)
        seconds = time.perf_counter() - began
        images, image_poses = [], []
        for query in queries:
            image, camera = narrowed(query.image, query.camera, min(args.field, 179.0))
            # roll and pitch as a mounting tells them
            mounting = query.T_map_camera
            view = view_of(image, camera, mounting)
            images.append(described(describer.of_image, describer.encoder.image(view), view.seen))
            image_poses.append(planar(query.T_map_camera @ level(mounting)))
    image_poses, out = np.array(image_poses), {}
    if args.stored:
        similarity = np.array([stored.scores(image["network"]).ravel() for image in images])
        out["stored"] = recalls(similarity, image_poses, view_poses)
    else:
        for name in images[0]:
            a, b = (np.stack([found[name] for found in side]) for side in (images, views))
            out[name] = recalls(a @ b.T, image_poses, view_poses)
    out["chance"] = chance(image_poses, view_poses)
    names = list(out["chance"])
    rows = [(name.replace("_", " "), *(f"{100 * figures[name]:.0f} %" for figures in out.values())) for name in names]
    print_table("", ("", *out), rows)
    how = "stored in the map" if args.stored else f"drawn and described in {seconds:.0f} s"
    print(f"{len(image_poses)} images, {len(view_poses)} views {how}")
    if args.json:
        args.json.write_text(json.dumps({"images": len(image_poses), "views": len(view_poses), **out}, indent=1))


if __name__ == "__main__":
    main()
