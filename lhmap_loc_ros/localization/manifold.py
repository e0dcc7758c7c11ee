# SPDX-License-Identifier: Apache-2.0
"""Covariances that travel with poses on SE(3); tangent vectors act on the right, as in `geometry.pose`."""

from __future__ import annotations

import numpy as np

from ..geometry import inverse


def skew(vector: np.ndarray) -> np.ndarray:
    """The matrix (3, 3) whose product with w is the cross product ``vector x w``."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0.0]])


def adjoint(pose: np.ndarray) -> np.ndarray:
    """The matrix (6, 6) with ``pose exp(xi) = exp(adjoint(pose) xi) pose``."""
    out = np.zeros((6, 6))
    out[:3, :3] = out[3:, 3:] = pose[:3, :3]
    out[:3, 3:] = skew(pose[:3, 3]) @ pose[:3, :3]
    return out


def right_jacobian(xi: np.ndarray) -> np.ndarray:
    """``exp(xi + d) ~ exp(xi) exp(right_jacobian(xi) d)``, (6, 6), to second order in xi.

    The corrections of a filter are far below a radian, where the third term is less than a percent.
    """
    ad = np.zeros((6, 6))
    ad[:3, :3] = ad[3:, 3:] = skew(xi[3:])
    ad[:3, 3:] = skew(xi[:3])
    return np.eye(6) - ad / 2 + ad @ ad / 6


def transport_covariance(covariance: np.ndarray, T_a_b: np.ndarray) -> np.ndarray:
    """The covariance (6, 6) of frame b, rigidly fixed to frame a at `T_a_b`, from that of frame a."""
    matrix = adjoint(inverse(T_a_b))
    return symmetric(matrix @ covariance @ matrix.T)


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """The symmetric part: rounding must not accumulate over hours of products."""
    return (matrix + matrix.T) / 2


def lengths(tangent: np.ndarray) -> tuple[float, float]:
    """How far a tangent vector (6) leads: translation [m] and angle [deg]."""
    return float(np.linalg.norm(tangent[:3])), float(np.degrees(np.linalg.norm(tangent[3:])))


def max_std(covariance: np.ndarray) -> tuple[float, float]:
    """The largest standard deviation of any direction: of translation [m] and of rotation [deg]."""
    position, rotation = (np.linalg.eigvalsh(covariance[k : k + 3, k : k + 3])[-1] for k in (0, 3))
    return float(np.sqrt(max(position, 0.0))), float(np.degrees(np.sqrt(max(rotation, 0.0))))


def covariance_intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The covariance (6, 6) of two estimates joined, whatever the correlation of their errors.

    Covariance intersection (Julier and Uhlmann 1997), with weights by determinants, which know no units (Fraenken and
    Huepper, "Improved fast covariance intersection for distributed data fusion", 2005).
    """
    a, b = np.linalg.inv(first), np.linalg.inv(second)
    of_sum, of_a, of_b = (np.linalg.slogdet(matrix)[1] for matrix in (a + b, a, b))
    share = 0.5 * (1 + np.exp(of_a - of_sum) - np.exp(of_b - of_sum))
    return symmetric(np.linalg.inv(share * a + (1 - share) * b))


def is_covariance(matrix: np.ndarray) -> bool:
    """Whether a matrix is a finite, symmetric covariance (6, 6) without negative variances."""
    matrix = np.asarray(matrix)
    if matrix.shape != (6, 6) or not np.isfinite(matrix).all():
        return False
    scale = np.abs(matrix).max() + 1e-12
    return bool(np.allclose(matrix, matrix.T, atol=1e-6 * scale) and np.linalg.eigvalsh(matrix)[0] > -1e-6 * scale)


def inflate_to(covariance: np.ndarray, minimum: np.ndarray) -> np.ndarray:
    """The covariance (6, 6), enlarged where it is smaller than another one: no direction has less variance there."""
    values, vectors = np.linalg.eigh(symmetric(minimum - covariance))
    return symmetric(covariance + (vectors * np.maximum(values, 0)) @ vectors.T)
