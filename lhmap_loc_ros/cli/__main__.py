# SPDX-License-Identifier: Apache-2.0
"""`python -m lhmap_loc_ros.cli`."""

from . import main

main()
