# SPDX-License-Identifier: Apache-2.0
"""What a map stores of a relocalizer learned from images: a section for each method, in half precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..geometry import Camera
from ..lhmap import SectionData
from ..lhmap.sections import Head, SectionReader, packed_head
from ..localization.features import GRIDS
from .inputs import CODE, COLUMNS, CellInputs

if TYPE_CHECKING:
    from ..lhmap import LHMap

METHODS = "coordinates", "constraints", "codes", "regression"
"""Also the names of the sections."""
VERSION = 1
OUTPUTS = {"coordinates": 4, "constraints": 5, "regression": 9}
"""Values that a head gives, see `heads`."""
LAYERS = 5
"""Of a head, see `heads.run_head`."""
_CAMERA = "width", "height", "fx", "fy", "cx", "cy"
Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Types and shapes of arrays by their names."""


@dataclass(frozen=True)
class LearnedImages:
    """The mapping drive's images: which place is one of?"""

    positions: np.ndarray
    """(N, 3) float32 [m], over base_link's height the camera, relative to the map's origin."""
    yaws: np.ndarray
    """(N,) float32 [rad], where the camera looked."""
    codes: np.ndarray
    """(N, CODE) float16."""
    head: np.ndarray
    """(N,) uint16, number of the head whose stretch of the path the image is in."""


@dataclass(frozen=True)
class Learned:
    """What one method learned."""

    method: str
    encoder: str
    """SHA-256 of the network that the features are of."""
    view: Camera
    """Images are brought to this camera, see `encoder`."""
    inputs: CellInputs
    images: LearnedImages
    centres: np.ndarray
    """(S, 3) float32 [m], relative to the map's origin: what the heads' coordinates are around."""
    scales: np.ndarray
    """(S,) float32 [m], of the heads' coordinates."""
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Weights (S, in, out) and biases (S, out) float16 of five layers, see `heads.run_head`."""

    def to_section(self) -> SectionData:
        """As bytes."""
        arrays = {
            "mean": self.inputs.mean, "scale": self.inputs.scale, "code_mean": self.inputs.code_mean,
            "basis": self.inputs.basis, "centres": self.centres, "scales": self.scales,
        }  # fmt: skip
        for k, (weights, biases) in enumerate(self.layers):
            arrays |= {f"weights{k}": weights, f"biases{k}": biases}
        head = {
            "encoder": self.encoder, "view": camera_head(self.view),
            "features": len(self.inputs.mean) - self.inputs.coarse, "coarse": self.inputs.coarse,
            "images": len(self.images.yaws), "heads": len(self.scales), "width": self.layers[0][0].shape[2],
        }  # fmt: skip
        return packed(self.method, head, _shapes(self.method, head), arrays | vars(self.images))

    @classmethod
    def of(cls, lhmap: LHMap, method: str) -> Learned | None:
        """That of a map; None if it has none.

        Raises MapFormatError if it is damaged or of an unknown version.
        """
        return lhmap.parsed_section(method, VERSION, lambda data: _parse(method, data))


def packed(method: str, head: Head, shapes: Shapes, arrays: dict[str, np.ndarray]) -> SectionData:
    """A section: its head as JSON, and arrays of some types and shapes, one behind the other."""
    body = b"".join(
        np.ascontiguousarray(arrays[name], dtype).reshape(shape).tobytes() for name, (dtype, shape) in shapes.items()
    )
    return SectionData(method, VERSION, packed_head(head) + body)


def unpacked(data: bytes, shapes_of: Callable[[Head], Shapes]) -> tuple[Head, dict[str, np.ndarray]]:
    """The head of a section, and its arrays, which that tells the shapes of; raises what `SectionReader` does."""
    reader = SectionReader(data)
    arrays = {name: reader.array(name, dtype, shape) for name, (dtype, shape) in shapes_of(reader.head).items()}
    reader.check_end()
    return reader.head, arrays


def image_shapes(images: int) -> Shapes:
    """Of the arrays of `LearnedImages`."""
    return {
        "positions": ("<f4", (images, 3)), "yaws": ("<f4", (images,)), "codes": ("<f2", (images, CODE)),
        "head": ("<u2", (images,)),
    }  # fmt: skip


def images_in(arrays: dict[str, np.ndarray], heads: int) -> LearnedImages:
    """Those of a section of so many heads; raises ValueError for images of others."""
    if arrays["head"].max() >= heads:
        raise ValueError(f"images of head {arrays['head'].max()} found, there are {heads}")
    return LearnedImages(*(arrays[name] for name in image_shapes(0)))


def camera_head(view: Camera) -> Head:
    """A view's camera as heads of sections tell it."""
    return {name: getattr(view, name) for name in _CAMERA}


def camera_in(head: Head) -> Camera:
    """The view's camera that a section's head tells; raises ValueError for one of another grid."""
    view = Camera(int(head["view"]["width"]), int(head["view"]["height"]),
                  *(float(head["view"][name]) for name in _CAMERA[2:]))  # fmt: skip
    if (view.width, view.height) not in GRIDS:
        raise ValueError(f"a view of {view.width}x{view.height} pixels found, expected one of {GRIDS}")
    return view


def _shapes(method: str, head: Head) -> Shapes:
    """Type and shape of each array, in the order in which they are stored."""
    features, coarse, images, heads, width = (
        int(head[name]) for name in ("features", "coarse", "images", "heads", "width")
    )
    if min(features, coarse, images, heads, width) < 1 or coarse > features or heads > images:
        raise ValueError(f"{features} features, {coarse} coarse ones, {images} images, {heads} heads found")
    whole = COLUMNS * coarse
    out: Shapes = {
        "mean": ("<f4", (features + coarse,)), "scale": ("<f4", (features + coarse,)), "code_mean": ("<f4", (whole,)),
        "basis": ("<f2", (whole, CODE)), **image_shapes(images), "centres": ("<f4", (heads, 3)),
        "scales": ("<f4", (heads,)),
    }  # fmt: skip
    first = CODE if method == "regression" else features + coarse + CODE
    ends = (first, *[width] * (LAYERS - 1), OUTPUTS[method])
    for k, (a, b) in enumerate(zip(ends, ends[1:], strict=False)):
        out |= {f"weights{k}": ("<f2", (heads, a, b)), f"biases{k}": ("<f2", (heads, b))}
    return out


def _parse(method: str, data: bytes) -> Learned:
    head, arrays = unpacked(data, lambda head: _shapes(method, head))
    inputs = CellInputs(
        int(head["coarse"]), arrays["mean"], arrays["scale"], arrays["code_mean"], arrays["basis"].astype(np.float32)
    )
    layers = tuple((arrays[f"weights{k}"], arrays[f"biases{k}"]) for k in range(LAYERS))
    return Learned(
        method, str(head["encoder"]), camera_in(head), inputs, images_in(arrays, len(arrays["scales"])),
        arrays["centres"], arrays["scales"], layers,
    )  # fmt: skip
