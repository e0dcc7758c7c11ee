# SPDX-License-Identifier: Apache-2.0
"""Each row of the table in docs/inputs.md names a test that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_row_of_the_table_of_inputs_names_a_test():
    rows = re.findall(r"^\|.*\| (\S+\.py)::(\w+) \|$", (ROOT / "docs/inputs.md").read_text(), re.MULTILINE)
    assert len(rows) > 30
    for file, name in rows:
        assert f"def {name}(" in (ROOT / file).read_text(), (file, name)
