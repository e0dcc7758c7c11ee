# SPDX-License-Identifier: Apache-2.0
"""Fits the covariance model: on frames whose true poses are known, from starts as rough and as near as in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import minimize

from ..evaluation.protocol import LEVELS, Query, start_pose
from ..geometry import inverse, se3_log
from ..localization.covariance import CovarianceModel, regressors
from ..localization.refine import Refiner
from .samples import near_start

ONE_SIGMA = 0.6827
COVERAGE = (ONE_SIGMA, 0.9545, 0.9973)
"""Of 1, 2 and 3 standard deviations."""
NEAR_STARTS = 3
"""Near starts of every frame: most poses are tracked ones."""
FAILED_SIGMAS = 5.0
"""An error of more counts no further: a failure is no measure of how sure the others are."""


@dataclass(frozen=True)
class Trials:
    """Refinements with known errors, one per row."""

    error: np.ndarray
    """(N, 6) tangent vector from the estimate to the truth [m, rad]."""
    sigma: np.ndarray
    """(N, 6) the solver's own standard deviations."""
    inlier_ratio: np.ndarray
    """(N,)"""
    step_m: np.ndarray
    """(N,) size of the last correction."""

    @staticmethod
    def joined(parts: list[Trials]) -> Trials:
        """All of them as one."""
        return Trials(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Trials)))


def trials(refiner: Refiner, queries: Iterable[Query]) -> Trials:
    """Refines the queries from rough starts and from near ones; its covariance model is the neutral one."""
    rows = []
    for query in queries:
        truth = query.T_map_camera
        starts = [(start_pose(truth, level, query.number), True) for level in LEVELS]
        rng = np.random.default_rng([9, query.number])
        starts += [(near_start(truth, rng), False) for _ in range(NEAR_STARTS)]
        for start, coarse in starts:
            result = refiner.refine(query.image, query.camera, query.crop(start), start, coarse, search=coarse)
            if result.succeeded:
                error = se3_log(inverse(result.T_map_camera) @ truth)
                rows.append((error, np.sqrt(np.diag(result.covariance)), result.inlier_ratio, result.last_step[0]))
    return Trials(*(np.array(column) for column in zip(*rows, strict=True)))


def fit_covariance(data: Trials) -> CovarianceModel:
    """By maximum likelihood per axis, then scaled so that 1, 2 and 3 standard deviations hold what they should.

    Errors have longer tails than a Gaussian: no factor is right for all three, and the one taken is least wrong for the
    worst of them.
    """
    regressed = np.stack([np.ones(len(data.step_m)), *regressors(data.inlier_ratio, data.step_m)], 1)
    parameters = []
    for axis in range(6):
        ratio = np.abs(data.error[:, axis]) / data.sigma[:, axis]

        def unlikely(p, ratio=ratio):
            log_factor = regressed @ p
            return np.mean(log_factor + 0.5 * np.minimum((ratio * np.exp(-log_factor)) ** 2, FAILED_SIGMAS**2))

        first = np.array([np.log(np.quantile(ratio, ONE_SIGMA) + 1e-9), 0.0, 0.0])
        # fewer inliers and longer steps never make surer
        bounds = [(first[0] - 5, first[0] + 5), (-3.0, 0.0), (0.0, 1.0)]
        p = minimize(unlikely, first, method="Powell", bounds=bounds).x
        p[0] += _best_factor(ratio * np.exp(-regressed @ p))
        parameters.append(p)
    return CovarianceModel(*(tuple(np.round(column, 4).tolist()) for column in np.array(parameters).T))


def _best_factor(ratio: np.ndarray) -> float:
    """Logarithm of the factor on the standard deviations after which the worst coverage is least wrong."""
    middle = np.log(np.quantile(ratio, ONE_SIGMA) + 1e-9)
    factors = middle + np.linspace(-1, 2, 301)
    sigmas = np.arange(1, 4)[:, None, None] * np.exp(factors)[:, None]
    wrong = np.abs((ratio < sigmas).mean(axis=2) - np.array(COVERAGE)[:, None]).max(axis=0)
    best = np.flatnonzero(wrong <= wrong.min() + 1e-9)
    return float(factors[best[len(best) // 2]])
