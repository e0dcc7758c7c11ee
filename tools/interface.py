#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of parameters and transitions of docs/interface.md, of settings of docs/map-format.md and of names
in bags of docs/inputs.md.

--check tells whether the pages are what the code says.
"""

import argparse
import sys
from pathlib import Path

from marked_part import with_part

from lhmap_loc_ros.localization.inputs import BagInputs
from lhmap_loc_ros.localization.transitions import TRANSITIONS
from lhmap_loc_ros.mapping.config import BuildConfig
from lhmap_loc_ros.nodes.localizer_config import LIVE, LocalizerConfig
from lhmap_loc_ros.nodes.parameters import fields_of

DOCS = Path(__file__).resolve().parent.parent / "docs"
AMCL = {
    "base_frame_id", "odom_frame_id", "global_frame_id", "tf_broadcast", "transform_tolerance", "set_initial_pose",
    "initial_pose.x", "initial_pose.y", "initial_pose.z", "initial_pose.yaw", "always_reset_initial_pose",
    "save_pose_rate",
}  # fmt: skip
"""Parameters of nav2_amcl of the same name and meaning."""

PARAMETERS = {
    "image": "topic `image`", "camera_info": "topic `camera_info`, or `camera_info_url`",
    "odometry": "topic `odometry`", "tf_static": "`/tf_static`", "base_frame": "`base_frame_id`",
    "camera_frame": "`camera_frame_id`", "more_cameras": "`cameras`",
}  # fmt: skip
"""Those of another name than in `BagInputs`."""


def settings() -> str:
    """Those of the builder."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in fields_of(BuildConfig):
        meaning = " ".join(field.description.split())
        lines.append(f"| `{name}` | `{_shown(field.get_default(call_default_factory=True))}` | {meaning} |")
    return "\n".join(lines)


def inputs() -> str:
    """What a bag is asked for, with the parameter of localizer_node that means the same."""
    lines = ["| `inputs` | default | meaning | parameter of `localizer_node` |", "|---|---|---|---|"]
    parameters = {name for name, _ in fields_of(LocalizerConfig)}
    for name, field in BagInputs.model_fields.items():
        same = PARAMETERS.get(name, f"`{name}`" if name in parameters else "")
        lines.append(f"| `{name}` | `{_shown(field.default)}` | {field.description} | {same} |")
    return "\n".join(lines)


def parameters() -> str:
    """Those of localizer_node."""
    lines = ["| parameter | default | live | as in nav2_amcl | meaning |", "|---|---|---|---|---|"]
    for name, field in fields_of(LocalizerConfig):
        default = "required" if field.is_required() else f"`{_shown(field.get_default(call_default_factory=True))}`"
        live, amcl = ("yes" if name.startswith(LIVE) else ""), ("yes" if name in AMCL else "")
        lines.append(f"| `{name}` | {default} | {live} | {amcl} | {field.description} |")
    return "\n".join(lines)


def transitions() -> str:
    """Those of the state of a track."""
    lines = ["| from | to | when |", "|---|---|---|"]
    for row in TRANSITIONS:
        lines.append(f"| {', '.join(row.sources)} | {row.target} | {row.when} |")
    return "\n".join(lines)


def _shown(value) -> str:
    value = getattr(value, "value", value)
    if value is None or value == "":
        return "unset" if value is None else '""'
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else f"{value}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    tables = (
        ("interface.md", "transitions", transitions()),
        ("interface.md", "parameters", parameters()),
        ("map-format.md", "settings", settings()),
        ("inputs.md", "inputs", inputs()),
    )
    for page, name, table in tables:
        path = DOCS / page
        after = with_part(path, name, table)
        if check and path.read_text() != after:
            sys.exit(f"{path}: the table of {name} is not what the code says; run tools/interface.py")
        if not check:
            path.write_text(after)


if __name__ == "__main__":
    main()
