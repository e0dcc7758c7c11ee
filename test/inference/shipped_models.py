# SPDX-License-Identifier: Apache-2.0
"""The networks that are shipped."""

SMALL = ("flow_image", "flow_coarse", "flow_fine", "heat")
LARGE = ("flow_large_image", "flow_large_coarse", "flow_large_fine")
SHIPPED = SMALL + LARGE
