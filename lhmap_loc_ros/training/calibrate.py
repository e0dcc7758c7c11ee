# SPDX-License-Identifier: Apache-2.0
"""Fits the covariance models: on frames whose true poses are known, from starts as rough and as near as in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import minimize

from ..errors import InputError
from ..evaluation.metrics import ONE_SIGMA
from ..evaluation.protocol import LEVELS, Query, start_pose
from ..geometry import inverse, se3_log
from ..localization.covariance import CovarianceModel, StartCovariances, regressors
from ..localization.refine import RefineMode, Refiner
from .samples import near_start

COVERAGE = (ONE_SIGMA, 0.9545, 0.9973)
"""Of 1, 2 and 3 standard deviations."""
NEAR_STARTS = 3
"""Of every frame, besides one rough start of each level."""
FAILED_SIGMAS = 5.0
"""An error of more counts no further: a failure is no measure of how sure the others are."""


@dataclass(frozen=True)
class Trials:
    """Refinements with known errors, one per row."""

    error: np.ndarray
    """(N, 6) tangent vector from the estimate to the truth [m, rad]."""
    sigma: np.ndarray
    """(N, 6) the solver's own standard deviations."""
    spread: np.ndarray
    """(N, 6) variances that other starts account for, which the models leave as they are."""
    inlier_ratio: np.ndarray
    """(N,)"""
    step_m: np.ndarray
    """(N,) size of the last correction."""
    rough: np.ndarray
    """(N,) bool, from a rough start."""

    def select(self, mask: np.ndarray) -> Trials:
        """The rows where `mask` (N, bool) is set."""
        return Trials(*(getattr(self, f.name)[mask] for f in fields(self)))

    @staticmethod
    def joined(parts: list[Trials]) -> Trials:
        """All of them as one."""
        return Trials(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Trials)))


def trials(refiner: Refiner, queries: Iterable[Query]) -> Trials:
    """Refines the queries from rough starts and from near ones; its covariance models are the neutral ones."""
    rows = []
    for query in queries:
        truth = query.T_map_camera
        starts = [(start_pose(truth, level, query.number), RefineMode.MULTI_START) for level in LEVELS]
        rng = np.random.default_rng([9, query.number])
        starts += [(near_start(truth, rng), RefineMode.TRACK) for _ in range(NEAR_STARTS)]
        for pose, start in starts:
            result = refiner.refine(query.image, query.camera, query.crop(pose), pose, start)
            if result.succeeded:
                error = se3_log(inverse(result.T_map_camera) @ truth)
                spread = np.diag(result.spread)
                sigma, rough = np.sqrt(np.diag(result.covariance) - spread), start is not RefineMode.TRACK
                rows.append((error, sigma, spread, result.inlier_ratio, result.last_step[0], rough))
    if not rows:
        none = np.zeros((0, 6))
        return Trials(none, none, none, np.zeros(0), np.zeros(0), np.zeros(0, bool))
    return Trials(*(np.array(column) for column in zip(*rows, strict=True)))


def fit_covariances(data: Trials) -> StartCovariances:
    """A model of the rough starts, one of the near ones; raises InputError if either is missing."""
    for kind, found in (("rough", data.rough), ("near", ~data.rough)):
        if not found.any():
            raise InputError(f"calibration: no pose came out of any {kind} start, expected some of rough and near ones")
    return StartCovariances(rough=_fit(data.select(data.rough)), near=_fit(data.select(~data.rough)))


def _fit(data: Trials) -> CovarianceModel:
    """By maximum likelihood per axis, then scaled so that 1, 2 and 3 standard deviations hold what they should.

    Errors have longer tails than a Gaussian: no factor is right for all three, and the one taken is least wrong for the
    worst of them.
    """
    regressed = np.stack([np.ones(len(data.step_m)), *regressors(data.inlier_ratio, data.step_m)], 1)
    parameters = []
    for axis in range(6):
        error, sigma, spread = np.abs(data.error[:, axis]), data.sigma[:, axis], data.spread[:, axis]

        def unlikely(p, error=error, sigma=sigma, spread=spread):
            variance = (sigma * np.exp(regressed @ p)) ** 2 + spread
            return np.mean(0.5 * np.log(variance) + 0.5 * np.minimum(error**2 / variance, FAILED_SIGMAS**2))

        first = np.array([np.log(np.quantile(error / sigma, ONE_SIGMA) + 1e-9), 0.0, 0.0])
        # fewer inliers and longer steps never make surer
        bounds = [(first[0] - 5, first[0] + 5), (-3.0, 0.0), (0.0, 1.0)]
        p = minimize(unlikely, first, method="Powell", bounds=bounds).x
        p[0] += _best_factor(error, sigma * np.exp(regressed @ p), spread)
        parameters.append(p)
    return CovarianceModel(*(tuple(np.round(column, 4).tolist()) for column in np.array(parameters).T))


def _best_factor(error: np.ndarray, sigma: np.ndarray, spread: np.ndarray) -> float:
    """Logarithm of the factor on the standard deviations (N,) after which the worst coverage is least wrong."""
    middle = np.log(np.quantile(error / sigma, ONE_SIGMA) + 1e-9)
    factors = middle + np.linspace(-1, 2, 301)
    sigmas = np.sqrt((sigma * np.exp(factors)[:, None]) ** 2 + spread) * np.arange(1, 4)[:, None, None]
    wrong = np.abs((error < sigmas).mean(axis=2) - np.array(COVERAGE)[:, None]).max(axis=0)
    best = np.flatnonzero(wrong <= wrong.min() + 1e-9)
    return float(factors[best[len(best) // 2]])
