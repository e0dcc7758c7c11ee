# SPDX-License-Identifier: Apache-2.0
"""The networks that are shipped."""

DEFAULT = ("flow_image", "flow_map", "flow_coarse", "flow_fine", "heat")
SMALL = ("flow_small_image", "flow_small_map", "flow_small_coarse", "flow_small_fine")
SHIPPED = DEFAULT + SMALL
