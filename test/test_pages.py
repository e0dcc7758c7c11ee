# SPDX-License-Identifier: Apache-2.0
"""Links of the pages lead somewhere: README.md and CONTRIBUTING.md anywhere in the repository, docs/ within docs/."""

import re
from pathlib import Path
from urllib.parse import urlparse

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def text_of(page):
    """A page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def links(page):
    """The relative links of a page: path and anchor, each perhaps empty."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    return [target.partition("#")[::2] for target in targets if not urlparse(target).scheme]


def anchors(page):
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES[2:], ids=lambda page: page.name)
def test_pages_of_the_site_link_to_nothing_outside_it(page):
    outside = [path for path, _ in links(page) if not (page.parent / path).resolve().is_relative_to(page.parent)]
    assert not outside
