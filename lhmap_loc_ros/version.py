# SPDX-License-Identifier: Apache-2.0
"""The version of this package, which package.xml tells."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path


def version() -> str:
    """As package.xml of the checkout has it; where the package is installed, as it was then."""
    file = Path(__file__).resolve().parents[1] / "package.xml"
    if file.is_file():
        return re.search(r"<version>(.+?)</version>", file.read_text()).group(1)
    return metadata.version("lhmap_loc_ros")
