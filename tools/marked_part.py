# SPDX-License-Identifier: Apache-2.0
"""Tables that tools write into pages, between `<!-- NAME -->` and `<!-- end NAME -->`."""

import re
import sys
from pathlib import Path


def with_part(page: Path, name: str, text: str) -> str:
    """The content of a page with another text between the markers of `name`; ends the program if they are missing."""
    content = page.read_text()
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.S)
    if not pattern.search(content):
        sys.exit(f"{page}: the markers of {name} are missing")
    return pattern.sub(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", content)
