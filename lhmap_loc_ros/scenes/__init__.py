# SPDX-License-Identifier: Apache-2.0
"""Relocalizers learned from the mapping robot's own images, with coordinates from the LiDAR map."""
