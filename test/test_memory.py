# SPDX-License-Identifier: Apache-2.0
"""Freed arrays go back to the system."""

import subprocess
import sys

PROGRAM = """
import numpy as np
from lhmap_loc_ros.memory import give_back_large_arrays, resident_mb
give_back_large_arrays()
before = resident_mb()
for _ in range(3):
    # a small array after each large one, which stays, as in a program that goes on
    large = [(np.ones(1 << 18), kept) for kept in [np.ones(100) for _ in range(100)]]
    held = resident_mb()
    small = [kept for _, kept in large]
    del large
print(held - before, resident_mb() - before)
"""


def test_large_arrays_go_back_when_they_are_deleted():
    out = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    held, left = map(float, out.split())
    assert held > 180
    assert left < 20
