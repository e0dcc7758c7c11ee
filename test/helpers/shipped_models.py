# SPDX-License-Identifier: Apache-2.0
"""The networks that are shipped."""

SHIPPED = (
    "flow_image", "flow_map", "flow_coarse", "flow_fine", "heat", "place_image", "place_map",
    "codes_image", "codes_decoder",
)  # fmt: skip
