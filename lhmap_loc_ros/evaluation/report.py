# SPDX-License-Identifier: Apache-2.0
"""One HTML file that shows a run: no other file, no network needed to read it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure

from ..lhmap import LHMap
from . import figures
from .summary import AXES, Comparison

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: #1f2937; background: #f3f4f6; margin: 0; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; margin: 0 0 2px; letter-spacing: -0.01em; }
h2 { font-size: 1.05rem; margin: 0 0 4px; }
p { margin: 2px 0 12px; color: #4b5563; }
section { background: #fff; border-radius: 10px; padding: 18px 20px; margin-top: 18px; box-shadow: 0 1px 2px #0002; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 18px; }
.card { background: #fff; border-radius: 10px; padding: 12px 16px; box-shadow: 0 1px 2px #0002; }
.card b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.card span { color: #6b7280; font-size: 0.85rem; }
img { width: 100%; height: auto; display: block; }
figure { margin: 12px 0 0; } figcaption { color: #6b7280; font-size: 0.85rem; margin-top: 3px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 4px 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid #e5e7eb; }
th:first-child, td:first-child { text-align: left; } th { color: #6b7280; font-weight: 600; font-size: 0.85rem; }
"""


@dataclass(frozen=True)
class Picture:
    """An image of the run with the map drawn over it."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    caption: str


def render_report(
    comparison: Comparison, summary: dict[str, float], lhmap: LHMap, pictures: Sequence[Picture], title: str, about: str
) -> str:
    """The report as HTML. `summary` is that of `summarize`, `about` one line on what was run."""
    parts = [
        f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>",
        _cards(summary),
        _section("Table", counted(summary), _table(summary)),
        _section(
            "Trajectory",
            "On the map from above; points by the rank of their heat, dark red are worth most.",
            _embed(figures.trajectory(comparison, lhmap), "Trajectory on the map"),
        ),
        _section(
            "Error over time",
            "Distance and angle to the truth (logarithmic); the band is the standard deviation the tracker reports, "
            "times three.",
            _embed(figures.errors(comparison), "Error over time"),
        ),
        _section(
            "Axes", "Errors in the frame of the robot, with 3 sigma.", _embed(figures.axes_errors(comparison), "")
        ),
        _section("Timing", "From the image to its pose.", _embed(figures.timing(comparison), "Latency")),
    ]
    if pictures:
        shown = "".join(_picture(picture) for picture in pictures)
        parts.append(
            _section(
                "The map on the street",
                "Map points at the estimated pose, red near, blue far: edges of map and image meet where the pose is "
                "right.",
                f'<div class="pictures">{shown}</div>',
            )
        )
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def counted(summary: dict[str, float]) -> str:
    """Which frames the figures are of."""
    reasons = {"frames_without_pose": "without a pose", "frames_without_truth": "without a true one"}
    left_out = [f"{summary[name]} {reason}" for name, reason in reasons.items() if summary[name]]
    if left_out:
        return f"{summary['frames']} frames count, {' and '.join(left_out)} do not; no alignment."
    return "Every frame counts, from the first image on; no alignment."


def rows(summary: dict[str, float]) -> list[tuple[str, str, str]]:
    """Name, track and odometry alone: the one table of report and terminal."""
    out = []
    for name, key, unit in (
        ("position error, median", "translation_median", "m"),
        ("position error, mean", "translation_mean", "m"),
        ("position error, 90 %", "translation_p90", "m"),
        ("position error, largest", "translation_max", "m"),
        ("rotation error, median", "rotation_median", "deg"),
        ("rotation error, 90 %", "rotation_p90", "deg"),
        ("rotation error, largest", "rotation_max", "deg"),
    ):
        alone = summary.get(f"odometry_{key}_{unit}")
        out.append((name, _number(summary[f"{key}_{unit}"], unit), "" if alone is None else _number(alone, unit)))
    out.append(("absolute trajectory error (ATE), root mean square", f"{summary['ate_m']:.3f} m", ""))
    out.append(("relative pose error (RPE) over 1 s", f"{summary['rpe_1s_m']:.3f} m, {summary['rpe_1s_deg']:.2f}°", ""))
    out.append(("losses", f"{summary['losses']}", ""))
    out.append(("time in TRACKING", f"{100 * summary['tracking_share']:.1f} %", ""))
    out.append(("poses", f"{summary['rate_hz']:.1f} /s", ""))
    latency = f"{summary['latency_ms_p50']:.0f} / {summary['latency_ms_p99']:.0f} ms"
    out.append(("latency, median / 99 %", latency, ""))
    if "images_sent" in summary:
        out.append(("images sent / poses received", f"{summary['images_sent']} / {summary['poses_received']}", ""))
    covered = np.mean([summary[f"coverage_1sigma_{axis}"] for axis in AXES])
    out.append(("errors within 1 sigma, per axis (honest: 68 %)", f"{100 * covered:.0f} %", ""))
    inside = f"{100 * summary['coverage_1sigma_ellipsoid']:.0f} %"
    out.append(("within the ellipsoid of 68 %", inside, ""))
    if "map_bytes" in summary:
        out.append(("map", f"{summary['map_bytes'] / 1e6:.2f} MB", ""))
    return out


def _number(value: float, unit: str) -> str:
    return f"{value:.2f}°" if unit == "deg" else f"{value:.3f} m"


def _cards(summary: dict[str, float]) -> str:
    cards = [
        (f"{summary['translation_median_m']:.2f} m", "median position error"),
        (f"{summary['rotation_median_deg']:.2f}°", "median rotation error"),
        (f"{summary['losses']}", "losses"),
        (f"{summary['rate_hz']:.1f} /s", "poses"),
        (f"{summary['latency_ms_p50']:.0f} ms", "median latency"),
        (f"{summary['length_m']:.0f} m", "driven"),
    ]
    if "odometry_translation_median_m" in summary:
        cards.insert(2, (f"{summary['odometry_translation_median_m']:.2f} m", "odometry alone"))
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{a}</b><span>{b}</span></div>' for a, b in cards)
        + "</div>"
    )


def _table(summary: dict[str, float]) -> str:
    lines = "".join(f"<tr><td>{a}</td><td>{b}</td><td>{c}</td></tr>" for a, b, c in rows(summary))
    return f"<table><tr><th></th><th>localized in the map</th><th>odometry alone</th></tr>{lines}</table>"


def _section(title: str, text: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>{body}</section>"


def _picture(picture: Picture) -> str:
    _, data = cv2.imencode(".jpg", picture.image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    caption = html.escape(picture.caption)
    image = f'<img alt="{caption}" src="{_data_url(data.tobytes(), "jpeg")}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _embed(figure: Figure, alt: str) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return f'<img alt="{html.escape(alt)}" src="{_data_url(data.getvalue(), "png")}">'


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
