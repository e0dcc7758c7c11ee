# SPDX-License-Identifier: Apache-2.0
"""Features that are computed once and kept in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

Features = TypeVar("Features", bound="FeatureFile")


@dataclass(frozen=True)
class FeatureFile:
    """A dataclass whose fields are all arrays."""

    @classmethod
    def read(cls: type[Features], path: Path) -> Features:
        """As `write` left them."""
        with np.load(path, allow_pickle=False) as data:
            return cls(**{field.name: data[field.name] for field in fields(cls)})

    def write(self, path: Path) -> None:
        """To one .npz, at once."""
        temporary = path.with_name(path.name + ".part.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **{field.name: getattr(self, field.name) for field in fields(self)})
        os.replace(temporary, path)
