# SPDX-License-Identifier: Apache-2.0
"""Arrows between modules point one way: none is needed, while it is imported, by one that it needs."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "lhmap_loc_ros"


def modules():
    """All modules of the package, by their full names."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def at_import(body):
    """The import statements that run with a module, not those of functions or of types alone."""
    for node in body:
        if isinstance(node, ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from at_import(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from at_import([*node.body, *getattr(node, "orelse", [])])


def needed(name, path, known):
    """The modules of the package that one imports from; a folder's own module counts where a name comes from it."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for statement in at_import(ast.parse(path.read_text()).body):
        base = [statement.module] if statement.module else []
        if statement.level:
            base = package[: len(package) - statement.level + 1] + base
        elif base[0].split(".")[0] != PACKAGE.name:
            continue
        for alias in statement.names:
            part = ".".join([*base, alias.name])
            yield part if part in known else ".".join(base)


def circle(graph):
    """The modules of a circle, none if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_module_needs_one_that_needs_it():
    known = modules()
    graph = {name: set(needed(name, path, known)) - {name} for name, path in known.items()}
    assert len(graph) > 200 and circle(graph) == []


def test_what_is_imported_by_its_full_name_counts_as_what_is_named_from_here(tmp_path):
    module, found = tmp_path / "a.py", []
    for line in ("from .b import c", "from lhmap_loc_ros.x.b import c", "from . import b"):
        module.write_text(line)
        found.append(list(needed("lhmap_loc_ros.x.a", module, {"lhmap_loc_ros.x.b": None})))
    assert found == [["lhmap_loc_ros.x.b"]] * 3


def test_a_circle_would_be_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not circle({"a": {"b", "c"}, "b": {"c"}})


def test_localizing_needs_no_search_in_the_whole_map_until_it_searches():
    known = modules()
    localization = [name for name in known if name.startswith("lhmap_loc_ros.localization")]
    found = {part for name in localization for part in needed(name, known[name], known)}
    assert not [part for part in found if part.startswith(("lhmap_loc_ros.places", "lhmap_loc_ros.scenes"))]
