# SPDX-License-Identifier: Apache-2.0
"""The calibration of a camera, checked over a drive in two ways that know nothing of each other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...geometry import inverse, to_quaternion
from ...lhmap import LHMap
from ...localization.inputs import BagInputs
from ...localization.refine import Refiner, RefinerConfig
from ...outputs import filling
from ..overlay import draw_overlay
from .by_information import by_information
from .by_matches import by_matches
from .drive import Drive, read_drive
from .estimate import RotationEstimate, agree
from .stamps import TimeOffset, time_offset

SYSTEMATIC_DEG = 0.1
"""What either way may err by over a whole drive, however sure its images make it."""
PICTURES = 3


@dataclass(frozen=True)
class Calibration:
    """What a drive says of a camera."""

    drive: Drive
    matches: RotationEstimate
    information: RotationEstimate | None
    """None where it tells nothing, as in a map without intensity."""
    offset: TimeOffset

    @property
    def agree(self) -> bool | None:
        """Whether the two ways do; None where there is but one."""
        return None if self.information is None else bool(agree(self.matches, self.information).all())

    @property
    def results(self) -> dict[str, RotationEstimate]:
        """What to use, by name: the mean where the two ways agree, else each."""
        if self.information is None:
            return {"matches": self.matches}
        if not self.agree:
            return {"matches": self.matches, "mutual information": self.information}
        return {"both": _mean(self.matches, self.information)}


def calibrate(
    bag,
    lhmap: LHMap,
    poses=None,
    inputs: BagInputs | None = None,
    config: RefinerConfig | None = None,
    report=None,
    refiner: Refiner | None = None,
) -> Calibration:
    """How the camera of a bag is turned against what /tf_static says; poses of base_link as `lhmap check` takes them.

    `refiner`: in place of one of the networks of `config`. Raises BagError or InputError for a bag without what is
    needed, too few images with poses, and images that do not match the map.
    """
    drive = read_drive(bag, lhmap, poses, inputs, report)
    refiner = refiner or Refiner((config or RefinerConfig()).model_copy(update={"max_iterations": 1}))
    matches = by_matches(drive, lhmap, refiner, report)
    return Calibration(drive, matches.rotation, by_information(drive, lhmap, report), time_offset(drive, matches))


def _mean(*estimates: RotationEstimate) -> RotationEstimate:
    """Weighted by how sure each is, axis by axis."""
    weight = np.array([1 / (e.sigma_deg**2 + SYSTEMATIC_DEG**2) for e in estimates])
    degrees = (weight * [e.degrees for e in estimates]).sum(axis=0) / weight.sum(axis=0)
    return RotationEstimate(degrees, weight.sum(axis=0) ** -0.5, min(e.images for e in estimates))


def camera_in_base(drive: Drive, estimate: RotationEstimate) -> list[float]:
    """The corrected pose of the camera's optical frame in base_link, x y z qx qy qz qw, as the setting takes it."""
    position, quaternion = to_quaternion(estimate.applied(drive.T_base_camera))
    return [round(float(v), 6) for v in (*position, *quaternion)]


def static_transform(drive: Drive, estimate: RotationEstimate) -> str:
    """The command that publishes the corrected transform.

    Where frames lie between base and camera it is the first transform that is corrected: those after it are the
    camera's own.
    """
    parent, child = drive.frames[:2]
    T_child_camera = inverse(drive.T_base_child) @ drive.T_base_camera
    (x, y, z), (qx, qy, qz, qw) = to_quaternion(estimate.applied(drive.T_base_camera) @ inverse(T_child_camera))
    return (
        f"ros2 run tf2_ros static_transform_publisher --x {x:.4f} --y {y:.4f} --z {z:.4f} "
        f"--qx {qx:.6f} --qy {qy:.6f} --qz {qz:.6f} --qw {qw:.6f} --frame-id {parent} --child-frame-id {child}"
    )


def write(calibration: Calibration, lhmap: LHMap, out) -> None:
    """calibration.json, and pictures of the map over images before and after, into the folder `out`."""
    images = calibration.drive.images
    with filling(out) as folder:
        (folder / "calibration.json").write_text(json.dumps(figures(calibration), indent=2) + "\n")
        for k in range(PICTURES):
            number = round((k + 0.5) / PICTURES * (len(images) - 1))
            picture = _picture(calibration, lhmap, number)
            _, data = cv2.imencode(".jpg", picture[:, :, ::-1])
            Path(folder / f"before_after_{k + 1}.jpg").write_bytes(data.tobytes())


def figures(calibration: Calibration) -> dict:
    """All results as plain numbers; what is not known is None."""
    found, offset = calibration, calibration.offset
    ways = {"matches": found.matches, "mutual_information": found.information}
    return {
        **{name: None if way is None else _plain(way) for name, way in ways.items()},
        "agree": found.agree,
        "time_offset": {"seconds": offset.seconds, "sigma_s": offset.sigma_s} if offset.known else None,
        "stamps_off": offset.off,
        "use": {
            name: {
                **_plain(way),
                "camera_in_base": camera_in_base(found.drive, way),
                "static_transform_publisher": static_transform(found.drive, way),
            }  # fmt: skip
            for name, way in found.results.items()
        },
    }


def _plain(estimate: RotationEstimate) -> dict:
    sigma = [float(s) if np.isfinite(s) else None for s in estimate.sigma_deg]
    return {"rotation_deg": estimate.degrees.tolist(), "sigma_deg": sigma, "images": estimate.images}


def _picture(calibration: Calibration, lhmap: LHMap, number: int) -> np.ndarray:
    """The map over an image by the calibration of the bag and, below, by each result; (H, W, 3) uint8 RGB."""
    drive = calibration.drive
    image = drive.images[number]
    mounted = {"before": drive.T_base_camera}
    mounted |= {f"after, by {name}": way.applied(drive.T_base_camera) for name, way in calibration.results.items()}
    rows = []
    for name, T_base_camera in mounted.items():
        T_map_camera = image.T_map_base @ T_base_camera
        crop = lhmap.crop(T_map_camera[:3, 3], 70.0, full_density_m=np.inf)
        row = np.ascontiguousarray(draw_overlay(image.image, drive.camera, crop, T_map_camera))
        for color, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(row, name, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, color, width, cv2.LINE_AA)
        rows.append(row)
    return np.vstack(rows)
