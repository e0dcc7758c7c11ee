# SPDX-License-Identifier: Apache-2.0
"""What tests use: small worlds, bags, robots, models that know the truth. pyproject.toml puts it on their path."""
