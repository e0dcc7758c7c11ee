# SPDX-License-Identifier: Apache-2.0
"""What the learned heads take of an image: each cell's features, what is around it, and the image as a whole.

Along a street many cells look alike; what is around them and the image as a whole tell them apart (GLACE, CVPR 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..geometry import Camera
from .encoder import CELL

AROUND = 9, 5
"""Columns and rows of cells around one whose mean it is given."""
COLUMNS = 4
"""Parts, side by side, whose means describe an image."""
CODE = 24
"""Values that are left of them: the image's code."""
_MIN_SCALE = 1e-3


@dataclass(frozen=True)
class CellInputs:
    """Turns features of F channels into the D = F + coarse + CODE inputs of a cell; learned from a drive's features."""

    coarse: int
    """So many of the features are at 1/8: the surroundings are of these."""
    mean: np.ndarray
    """(F + coarse,) float32."""
    scale: np.ndarray
    """(F + coarse,) float32, standard deviations."""
    code_mean: np.ndarray
    """(COLUMNS * coarse,) float32."""
    basis: np.ndarray
    """(COLUMNS * coarse, CODE) float32: principal components, scaled."""

    @classmethod
    def of(cls, features: np.ndarray, coarse: int, view: Camera) -> CellInputs:
        """Those of a drive's features (N, M, F)."""
        cells = [with_surroundings(one.astype(np.float32), coarse, view) for one in features]
        whole = np.array([whole_image(one.astype(np.float32), coarse, view) for one in features])
        return cls.fitted(cells, whole, coarse)

    @classmethod
    def fitted(cls, cells: Sequence[np.ndarray], whole: np.ndarray, coarse: int) -> CellInputs:
        """To images with cells (M, F + coarse) each, as wholes (N, COLUMNS * coarse)."""
        mean = np.mean([one.mean(0) for one in cells], axis=0)
        square = np.mean([np.square(one - mean).mean(0) for one in cells], axis=0)
        code_mean = whole.mean(0)
        _, sizes, axes = np.linalg.svd(whole - code_mean, full_matrices=False)
        basis = np.zeros((whole.shape[1], CODE), np.float32)
        basis[:, : len(axes[:CODE])] = axes[:CODE].T
        # so that the codes' values are about one, the first components larger than the last
        spread = np.sqrt(np.mean(np.square(sizes[:CODE])) / len(whole))
        return cls(
            coarse, mean.astype(np.float32), np.maximum(np.sqrt(square), _MIN_SCALE).astype(np.float32),
            code_mean.astype(np.float32), basis / np.float32(max(spread, _MIN_SCALE)),
        )  # fmt: skip

    def code(self, features: np.ndarray, view: Camera) -> np.ndarray:
        """(CODE,) float32 of an image with features (M, F): images of a place have codes near each other."""
        return (whole_image(features, self.coarse, view) - self.code_mean) @ self.basis

    def cells(self, features: np.ndarray, view: Camera) -> np.ndarray:
        """Inputs (M, D) float32 of an image's cells with features (M, F)."""
        local = (with_surroundings(features, self.coarse, view) - self.mean) / self.scale
        code = self.code(features, view)
        return np.concatenate([local, np.broadcast_to(code, (len(local), CODE))], axis=1)


def with_surroundings(features: np.ndarray, coarse: int, view: Camera) -> np.ndarray:
    """Features (M, F + coarse) of cells and the mean of those around them, of features (M, F)."""
    grid = np.ascontiguousarray(features[:, :coarse]).reshape(view.height // CELL, view.width // CELL, coarse)
    around = cv2.blur(grid, AROUND).reshape(len(features), coarse)
    return np.concatenate([features, around], axis=1)


def whole_image(features: np.ndarray, coarse: int, view: Camera) -> np.ndarray:
    """Means (COLUMNS * coarse,) of an image's parts, side by side, of features (M, F)."""
    grid = features[:, :coarse].reshape(view.height // CELL, view.width // CELL, coarse)
    return np.concatenate([part.mean((0, 1)) for part in np.array_split(grid, COLUMNS, axis=1)])
