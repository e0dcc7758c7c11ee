# SPDX-License-Identifier: Apache-2.0
"""Descriptors in a fixed number of bytes, compared with a descriptor in full precision by look-ups.

Scalar quantisation: each component of a unit vector takes 8, 4, 2 or 1 bits, as many as its share of `CODE_BYTES`
allows. The query is not quantised, so the error is that of one side alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from ..errors import InputError

CODE_BYTES = 32
"""At most so many bytes a descriptor takes."""
_STEP_SIGMAS = {1: 1.596, 2: 0.996, 4: 0.335}
"""Steps that are best for normally distributed components, in their standard deviations (Max, 1960)."""
_FULL_STEP = 2 / 255
"""Of 8 bits: no component of a unit vector is beyond their range."""


@dataclass(frozen=True)
class Quantizer:
    """Unit vectors of `dimension` components as rows of bytes."""

    dimension: int
    bits: int
    """Of a component: 8, 4, 2 or 1."""
    step: float
    """Between two levels, which lie evenly around zero."""

    def __post_init__(self) -> None:
        if self.bits not in (1, 2, 4, 8) or self.dimension < 1 or not 0 < self.step < np.inf:
            raise InputError(
                f"descriptors of {self.dimension} components of {self.bits} bits in steps of {self.step:g} found, "
                "expected 8, 4, 2 or 1 bits"
            )

    @classmethod
    def of(cls, dimension: int) -> Quantizer:
        """With the most bits that fit `CODE_BYTES`; raises InputError for more components than these have bits."""
        fitting = [bits for bits in (8, 4, 2, 1) if bits * dimension <= 8 * CODE_BYTES]
        if not fitting:
            raise InputError(f"descriptors of {dimension} components found, expected at most {8 * CODE_BYTES}")
        step = _FULL_STEP if fitting[0] == 8 else _STEP_SIGMAS[fitting[0]] / np.sqrt(dimension)
        return cls(dimension, fitting[0], float(step))

    @property
    def bytes(self) -> int:
        """Of one descriptor."""
        return -(-self.dimension * self.bits // 8)

    @property
    def limit(self) -> float:
        """Components beyond it are stored as if they were this large."""
        return float(self._levels[-1])

    def encode(self, descriptors: np.ndarray) -> np.ndarray:
        """Codes (N, bytes) uint8 of unit vectors (N, dimension)."""
        count, last = 2**self.bits, 2**self.bits - 1
        level = np.clip(np.floor(descriptors / self.step) + count // 2, 0, last).astype(np.uint8)
        padded = np.zeros((len(level), self.bytes * self._per_byte), np.uint8)
        padded[:, : self.dimension] = level
        parts = padded.reshape(len(level), self.bytes, self._per_byte)
        return np.bitwise_or.reduce(parts << self._shifts, axis=2).astype(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The vectors (N, dimension) float32 that codes stand for; their norm is near one."""
        level = codes[:, :, None] >> self._shifts & (2**self.bits - 1)
        return self._levels[level.reshape(len(codes), -1)[:, : self.dimension]]

    def norms(self, codes: np.ndarray) -> np.ndarray:
        """Norms (...) float32 of the vectors that codes (..., bytes) stand for."""
        flat = codes.reshape(-1, self.bytes)
        square = np.empty(len(flat), np.float32)
        _sum_of_lookups(flat, self._table(self._levels**2, np.ones(self.dimension, np.float32)), square)
        return np.sqrt(square).reshape(codes.shape[:-1])

    def dots(self, codes: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Dot products (N,) float32 of the vectors that codes (N, bytes) stand for with `query` (dimension,)."""
        out = np.empty(len(codes), np.float32)
        _sum_of_lookups(codes, self._table(self._levels, query.astype(np.float32)), out)
        return out

    @property
    def _per_byte(self) -> int:
        return 8 // self.bits

    @property
    def _shifts(self) -> np.ndarray:
        return np.arange(self._per_byte, dtype=np.uint8) * np.uint8(self.bits)

    @property
    def _levels(self) -> np.ndarray:
        """The component that each level stands for."""
        count = 2**self.bits
        return ((np.arange(count) - (count - 1) / 2) * self.step).astype(np.float32)

    def _table(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """What each byte at each position of a code adds to a weighted sum (bytes, 256) of the levels' `values`."""
        padded = np.zeros(self.bytes * self._per_byte, np.float32)
        padded[: self.dimension] = weights
        level = np.arange(256, dtype=np.uint8)[:, None] >> self._shifts & (2**self.bits - 1)
        return padded.reshape(self.bytes, self._per_byte) @ values[level].T


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sum_of_lookups(codes: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    for i in range(codes.shape[0]):
        total = np.float32(0)
        for j in range(codes.shape[1]):
            total += table[j, codes[i, j]]
        out[i] = total
