# SPDX-License-Identifier: Apache-2.0
"""A map to turn and look at in a browser: one HTML page that needs no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..lhmap import LHMap, MapPoints
from ..lhmap.atomic import replacing

BACKGROUND = "#3b4048"
"""Lighter than the coldest points, which are black."""


def thinned(lhmap: LHMap, points: int) -> MapPoints:
    """At most so many points around the map's origin: every so manieth, hot and cold alike."""
    every, passed = max(1, int(np.ceil(lhmap.metadata.points / points))), 0
    shown = []
    for piece in lhmap.pieces():
        # counted on from tile to tile: one more of each of many tiles would be too many
        shown.append(piece.select(np.arange(-passed % every, len(piece), every)))
        passed += len(piece)
    return MapPoints.joined(shown, lhmap.metadata.origin)


def write_view(lhmap: LHMap, out, points: int = 150_000) -> int:
    """Writes the page: points coloured by heat, and the mapping path. Returns how many points it shows.

    Of a map with more than `points` every so manieth is shown.
    """
    import plotly.graph_objects as go

    joined, origin = thinned(lhmap, points), np.array(lhmap.metadata.origin)
    xyz, heat = joined.points, joined.heat
    marker = {
        "size": 1.5, "color": heat, "colorscale": "Inferno", "cmin": 0, "cmax": 1, "colorbar": {"title": "heat"},
    }  # fmt: skip
    traces = [
        go.Scatter3d(
            x=xyz[:, 0], y=xyz[:, 1], z=xyz[:, 2], mode="markers", marker=marker, name="points", hoverinfo="skip"
        )
    ]
    path = lhmap.metadata.path
    if len(path):
        x, y, z = (path[:, :3] - origin).T
        line = {"color": "deepskyblue", "width": 4}
        traces.append(go.Scatter3d(x=x, y=y, z=z + 0.1, mode="lines", line=line, name="mapping path"))
    facts = lhmap.info()
    size = f"{facts['bytes'] / 1e6:.2f} MB"
    title = f"{lhmap.path.name}: {len(heat)} of {facts['points']} points, {size}, {facts['path_length_m']:.0f} m driven"
    # of a map in UTM the large numbers are told once
    titles = (f"{a} - {o:.2f} [m]" if o else f"{a} [m]" for a, o in zip("xyz", origin, strict=True))
    axes = {f"{a}axis": {"title": title, "backgroundcolor": BACKGROUND} for a, title in zip("xyz", titles, strict=True)}
    figure = go.Figure(traces)
    figure.update_layout(
        title=title,
        template="plotly_dark",
        margin={"l": 0, "r": 0, "t": 40, "b": 0},
        scene={"aspectmode": "data", "bgcolor": BACKGROUND, **axes},
        legend={"x": 0, "y": 0},
    )
    # the page carries its own library
    with replacing(Path(out)) as file:
        page = figure.to_html(include_plotlyjs=True, full_html=True, default_height="100vh")
        file.write(page.replace("<body>", '<body style="margin: 0">', 1).encode())
    return len(heat)
