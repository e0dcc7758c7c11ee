# SPDX-License-Identifier: Apache-2.0
"""A calibration in words."""

from __future__ import annotations

import numpy as np

from .calibrate import Calibration, camera_in_base, static_transform
from .estimate import RotationEstimate, agree
from .stamps import TimeOffset

AXES = "x (right)", "y (down)", "z (forward)"
HEADER = ["", *AXES, "images"]


def rows(found: Calibration) -> list[list[str]]:
    """Of a table: the two ways beside each other."""
    table = [["matches", *_cells(found.matches)]]
    if found.information is not None:
        table.append(["mutual information", *_cells(found.information)])
    return table


def _cells(estimate: RotationEstimate) -> list[str]:
    pairs = zip(estimate.degrees, estimate.sigma_deg, strict=True)
    return [*(f"{d:+.2f} ± {s:.2f}" if np.isfinite(s) else f"{d:+.2f} ± ?" for d, s in pairs), str(estimate.images)]


def lines(found: Calibration) -> list[str]:
    """What follows from it."""
    out = []
    if found.information is None:
        out.append("mutual information: left out: no intensity in the map, little in view, or no sharp maximum nearby")
        out.append("nothing confirms the matches: look at the pictures (--out)")
    elif found.agree:
        out.append("the two ways agree")
    else:
        apart = ", ".join(np.array(AXES)[~agree(found.matches, found.information)])
        out.append(f"the two ways do not agree about {apart}: look at the pictures (--out) before you use either")
    out.append(_of_stamps(found.offset))
    for name, way in found.results.items():
        out.append(f"the camera by {name}, as a setting of localizer_node and of inputs in --config FILE:")
        out.append(f"camera_in_base: [{', '.join(f'{v:.6f}' for v in camera_in_base(found.drive, way))}]")
        out.append("or as the transform, in place of that in the URDF, never beside it:")
        out.append(static_transform(found.drive, way))
    return out


def _of_stamps(offset: TimeOffset) -> str:
    if not offset.known:
        return "stamps: cannot be told from this drive, it takes turns or changes of speed"
    told = f"{1e3 * offset.seconds:+.0f} ± {1e3 * offset.sigma_s:.0f} ms"
    if offset.off:
        return f"stamps: images were taken {told} after what their stamps say; correct this first, then calibrate again"
    return f"stamps: right as far as this drive tells, {told}"
