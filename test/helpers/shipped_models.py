# SPDX-License-Identifier: Apache-2.0
"""The networks that are shipped."""

SHIPPED = (
    "flow_image", "flow_map", "flow_coarse", "flow_fine", "encoder_image", "encoder_map", "heat",
    "place_image", "place_map", "codes_image", "codes_decoder",
)  # fmt: skip
