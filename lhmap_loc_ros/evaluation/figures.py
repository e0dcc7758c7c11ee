# SPDX-License-Identifier: Apache-2.0
"""The figures of a report, as matplotlib figures; no window system and no global state."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..lhmap import LHMap
from . import metrics
from .summary import Comparison

OURS, TRUTH, ODOMETRY, BAND = "#0b6bcb", "#111827", "#d9480f", "#0b6bcb"
STATE_COLORS = {"INITIALIZING": "#f2c94c", "TRACKING": "#2f9e44", "DEGRADED": "#f08c00", "LOST": "#c92a2a"}
# on white: points of no worth are pale grey, those of great worth dark red
HEAT = LinearSegmentedColormap.from_list("heat", ["#dfe3e8", "#c9cfd6", "#f4b860", "#e8590c", "#7f1d1d"])
STYLE = {"color": "#374151", "size": 9}


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **arguments):
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **arguments)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8, colors="#4b5563")
        axis.grid(color="#e5e7eb", linewidth=0.7)
        axis.set_axisbelow(True)
    return figure, axes


def trajectory(comparison: Comparison, lhmap: LHMap, margin_m: float = 30.0) -> Figure:
    """Truth, track and odometry over the map seen from above, coloured by heat."""
    across, up = _extent(comparison, margin_m)
    width = 10.5
    # the colour bar and the labels take a tenth of the width
    height = 0.88 * width * (up[1] - up[0]) / (across[1] - across[0])
    figure, axes = _figure(width, float(np.clip(height, 3.0, 9.0)) + 0.5)
    axis = axes[0, 0]
    axis.grid(False)
    x, y, heat = _seen_from_above(lhmap, across, up)
    drawn = axis.scatter(x, y, c=heat, s=0.5, cmap=HEAT, vmin=0, vmax=1, linewidths=0, rasterized=True)
    if comparison.odometry is not None:
        axis.plot(*comparison.odometry[:, :2, 3].T, "--", color=ODOMETRY, linewidth=1.6, label="odometry alone")
    axis.plot(*comparison.truth[:, :2, 3].T, color=TRUTH, linewidth=3.2, alpha=0.85, label="truth")
    axis.plot(*comparison.record.poses[:, :2, 3].T, color="#4dabf7", linewidth=1.2, label="localized in the map")
    axis.plot(*comparison.truth[0, :2, 3], "o", color=TRUTH, markersize=6)
    axis.set_xlim(across)
    axis.set_ylim(up)
    axis.set_aspect("equal")
    axis.set_xlabel("x [m]", **STYLE)
    axis.set_ylabel("y [m]", **STYLE)
    axis.legend(loc="best", fontsize=8, framealpha=0.92, edgecolor="none")
    bar = figure.colorbar(drawn, ax=axis, shrink=0.7, pad=0.01, aspect=30)
    bar.set_label("heat", **STYLE)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure


def _extent(comparison: Comparison, margin: float):
    every = [comparison.truth[:, :2, 3], comparison.record.poses[:, :2, 3]]
    if comparison.odometry is not None:
        every.append(comparison.odometry[np.isfinite(comparison.odometry).all(axis=(1, 2)), :2, 3])
    places = np.concatenate(every)
    low, high = places.min(axis=0) - margin, places.max(axis=0) + margin
    # a straight street would make a ribbon
    short = np.argmin(high - low)
    missing = 0.3 * (high - low).max() - (high - low)[short]
    if missing > 0:
        low[short] -= missing / 2
        high[short] += missing / 2
    return (low[0], high[0]), (low[1], high[1])


def _seen_from_above(lhmap: LHMap, across, up, limit: int = 400_000):
    low, high = np.array([across, up]).T
    places, heats = [np.zeros((0, 2))], [np.zeros(0)]
    for piece in lhmap.pieces(low, high):
        xy = piece.points[:, :2] + piece.origin[:2]
        near = ((xy > low) & (xy < high)).all(axis=1)
        places.append(xy[near])
        heats.append(piece.heat[near])
    xy, heat = np.concatenate(places), np.concatenate(heats)
    if len(heat) > limit:
        every = len(heat) // limit + 1
        xy, heat = xy[::every], heat[::every]
    order = np.argsort(heat, kind="stable")  # the worthy ones on top
    xy, heat = xy[order], heat[order]
    spread = np.ptp(heat) if len(heat) else 0.0
    # rank, not value: heat is far from evenly spread
    shade = np.linspace(0, 1, len(heat)) if spread > 1e-6 else np.full(len(heat), 0.3)
    return xy[:, 0], xy[:, 1], shade


def errors(comparison: Comparison) -> Figure:
    """Error of position and rotation over time beside odometry alone, with the reported 3 sigma, and the state."""
    figure, axes = _figure(10.5, 5.6, 3, sharex=True, height_ratios=[5, 5, 0.55])
    seconds = comparison.seconds
    ours = metrics.norms(comparison.difference)
    alone = None if comparison.odometry_difference is None else metrics.norms(comparison.odometry_difference)
    for row, (name, floor) in enumerate((("position error [m]", 0.01), ("rotation error [deg]", 0.02))):
        axis = axes[row, 0]
        limit = 3 * _radius(comparison.record.covariances, row)
        axis.fill_between(seconds, floor, limit, color=BAND, alpha=0.13, linewidth=0, label="reported 3 sigma")
        if alone is not None:
            axis.plot(seconds, alone[row], "--", color=ODOMETRY, linewidth=1.3, label="odometry alone")
        axis.plot(seconds, ours[row], color=OURS, linewidth=1.2, label="localized in the map")
        axis.set_yscale("log")
        axis.set_ylim(bottom=floor)
        axis.set_ylabel(name, **STYLE)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes[0, 0].legend(loc="upper left", ncols=3, fontsize=8, framealpha=0.9, edgecolor="none")
    _state_strip(axes[2, 0], seconds, comparison.record.states)
    return figure


def _radius(covariances: np.ndarray, row: int) -> np.ndarray:
    """Standard deviation (N) of the distance [m] (row 0) or of the angle [deg] (row 1)."""
    variances = np.einsum("nii->ni", covariances)[:, 3 * row : 3 * row + 3].sum(axis=1)
    return np.sqrt(variances) * (np.degrees(1) if row else 1)


def _state_strip(axis, seconds: np.ndarray, states: np.ndarray) -> None:
    axis.grid(False)
    axis.set_yticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    change = np.flatnonzero(np.r_[True, states[1:] != states[:-1]])
    ends = np.r_[seconds[change[1:]], seconds[-1]]
    for begin, end, state in zip(seconds[change], ends, states[change], strict=True):
        axis.axvspan(begin, end, color=STATE_COLORS.get(state, "#868e96"), linewidth=0)
    axis.set_xlabel("time [s]", **STYLE)
    present = [Patch(color=color, label=name) for name, color in STATE_COLORS.items() if name in states]
    axis.legend(handles=present, loc="upper right", bbox_to_anchor=(1, -0.9), ncols=4, fontsize=8, frameon=False)


def axes_errors(comparison: Comparison) -> Figure:
    """Error along and about each axis of the robot, inside the reported 3 sigma or not."""
    figure, axes = _figure(10.5, 4.6, 3, 2, sharex=True)
    sigma = np.sqrt(np.einsum("nii->ni", comparison.record.covariances))
    names = ("forward [m]", "left [m]", "up [m]", "roll [deg]", "pitch [deg]", "yaw [deg]")
    for k, name in enumerate(names):
        axis, scale = axes[k % 3, k // 3], np.degrees(1) if k > 2 else 1
        value, limit = scale * comparison.difference[:, k], 3 * scale * sigma[:, k]
        axis.fill_between(comparison.seconds, -limit, limit, color=BAND, alpha=0.13, linewidth=0)
        axis.plot(comparison.seconds, value, color=OURS, linewidth=0.9)
        axis.axhline(0, color="#9ca3af", linewidth=0.7)
        # the wide start must not flatten the rest
        reach = 1.3 * max(np.percentile(limit, 75), np.percentile(np.abs(value), 97), 1e-6)
        axis.set_ylim(-reach, reach)
        axis.set_ylabel(name, **STYLE)
    for axis in axes[2]:
        axis.set_xlabel("time [s]", **STYLE)
    return figure


def timing(comparison: Comparison) -> Figure:
    """Histogram of the latency, and the share of matches explained over time."""
    figure, axes = _figure(10.5, 2.6, 1, 2)
    latency = comparison.record.latency_ms
    axes[0, 0].hist(np.clip(latency, None, np.percentile(latency, 99.5)), bins=50, color=OURS, alpha=0.85)
    for share, style in ((50, "-"), (99, "--")):
        value = np.percentile(latency, share)
        axes[0, 0].axvline(value, color=TRUTH, linestyle=style, linewidth=1, label=f"p{share}: {value:.0f} ms")
    axes[0, 0].legend(fontsize=8, frameon=False)
    axes[0, 0].set_xlabel("latency, image to pose [ms]", **STYLE)
    axes[0, 0].set_ylabel("images", **STYLE)
    axes[0, 1].plot(comparison.seconds, comparison.record.inlier_ratio, color=OURS, linewidth=0.9)
    axes[0, 1].set_ylim(0, 1)
    axes[0, 1].set_xlabel("time [s]", **STYLE)
    axes[0, 1].set_ylabel("inlier ratio", **STYLE)
    return figure
