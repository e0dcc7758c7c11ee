# SPDX-License-Identifier: Apache-2.0
"""What tests use: small worlds, bags, robots, models that know the truth; pyproject.toml puts it on the path."""

from pathlib import Path

FOLDER = Path(__file__).parent
"""Where scripts lie that tests run as processes of their own."""
