# SPDX-License-Identifier: Apache-2.0
"""Where a frame was, by the transforms or the odometry in a bag."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ..errors import BagError
from .bag import BagReader
from .messages import Odometry, Transform
from .trajectory import Trajectory
from .transforms import TransformTree


def trajectory_from_tf(
    bag: BagReader, topic: str, parent: str, child: str, static_topic: str | None = None
) -> Trajectory | None:
    """The poses of `child` in `parent` from a TF topic, through frames between them if need be; None if apart.

    Where no link of `topic` leads up from a frame, one of `static_topic` does, if the bag has it; one at least must be
    of `topic`. The poses are taken at the times of the moving link that has most; the other links are interpolated.
    """
    moving = _links(bag, topic)
    fixed = _links(bag, static_topic) if static_topic in bag.topics else {}
    # a frame that moves may have been announced as fixed before
    chain = _chain([*fixed, *moving], parent, child)
    if chain is None or not any(link in moving for link in chain):
        return None
    edges = [_edge(moving[link] if link in moving else fixed[link][-1:]) for link in chain]
    stamps = max((edge for edge, link in zip(edges, chain, strict=True) if link in moving), key=len).stamps_ns
    for edge in edges:
        stamps = stamps[edge.covers(stamps)] if len(edge) > 1 else stamps
    if not len(stamps):
        return None
    poses = np.broadcast_to(np.eye(4), (len(stamps), 4, 4))
    for edge in edges:
        poses = poses @ edge.at(stamps)
    return Trajectory(stamps, poses)


def _links(bag: BagReader, topic: str) -> dict[tuple[str, str], list[tuple[int, np.ndarray]]]:
    """Stamps and poses by parent and child."""
    links = defaultdict(list)
    for message in bag.messages_as(Transform, topic):
        links[message.frame, message.child].append((message.stamp_ns, message.pose))
    return links


def _edge(stamped: list[tuple[int, np.ndarray]]) -> Trajectory:
    return Trajectory.sorted(*zip(*stamped, strict=True))


def _chain(links: list[tuple[str, str]], parent: str, child: str) -> list[tuple[str, str]] | None:
    """The links that lead from the child up to the parent, topmost first; a frame's parent is that of its last link."""
    parents = {c: p for p, c in links}
    chain: list[tuple[str, str]] = []
    while child != parent:
        if child not in parents or len(chain) > len(links):
            return None
        chain.insert(0, (parents[child], child))
        child = parents[child]
    return chain or None


def trajectory_from_odometry(bag: BagReader, topic: str, base_frame: str, static_topic: str) -> Trajectory:
    """The poses of `base_frame` in that of the odometry, whichever frame of the vehicle the odometry is of.

    Messages that name no child are of `base_frame`; those of a child from which no transform of `static_topic` leads to
    `base_frame` are left out. Raises BagError if there are no others.
    """
    messages = list(bag.messages_as(Odometry, topic))
    if not messages:
        raise BagError(f"{bag.path}: {topic} holds no message, expected odometry")
    to_base, unknown = {}, {}
    for child in {message.child for message in messages}:
        try:
            to_base[child] = _to_base(bag, topic, child, base_frame, static_topic)
        except BagError as error:
            unknown[child] = error
    if not to_base:
        raise next(iter(unknown.values()))
    for message in messages:
        if message.child in unknown:
            bag.left_out.add(topic, f"tells the poses of {message.child!r}, not of {base_frame!r}", message.stamp_ns)
    known = [message for message in messages if message.child in to_base]
    return Trajectory.sorted([m.stamp_ns for m in known], [m.pose @ to_base[m.child] for m in known])


def _to_base(bag: BagReader, topic: str, child: str, base_frame: str, static_topic: str) -> np.ndarray:
    """T_child_base (4, 4)."""
    if child in ("", base_frame):
        return np.eye(4)
    there = static_topic in bag.topics
    tree = bag.static_transforms(static_topic) if there else TransformTree(str(bag.path))
    try:
        return tree.lookup(child, base_frame)
    except BagError as error:
        raise BagError(
            f"{bag.path}: {topic} tells the poses of {child!r}, expected those of "
            f"{base_frame!r} (base_frame) or a static transform between them: {error}"
        ) from None
