# SPDX-License-Identifier: Apache-2.0
"""Monocular 6-DoF localization in compact LiDAR heat maps (LHMaps)."""

__version__ = "0.1.0"
