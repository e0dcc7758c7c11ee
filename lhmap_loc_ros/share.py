# SPDX-License-Identifier: Apache-2.0
"""Where files that come with the package lie, besides its modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def shared_folders(name: str) -> list[Path]:
    """Folders that may be the one of this name: of a checkout, of a ROS workspace, of a virtual environment."""
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    shares = [prefix / "share" / "lhmap_loc_ros" / name for prefix in [*prefixes, Path(sys.prefix)]]
    return [Path(__file__).resolve().parents[1] / name, *shares]
