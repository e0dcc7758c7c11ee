# SPDX-License-Identifier: Apache-2.0
"""How much memory this process holds."""

from __future__ import annotations

from pathlib import Path

from ..errors import LhmapError


def resident_mb() -> float:
    """Resident memory of this process [MB]."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1e3
    raise LhmapError("/proc/self/status has no VmRSS")
