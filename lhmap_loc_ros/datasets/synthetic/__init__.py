# SPDX-License-Identifier: Apache-2.0
"""A procedural campus: streets, houses, trees and cars, seen by a camera and a LiDAR."""
