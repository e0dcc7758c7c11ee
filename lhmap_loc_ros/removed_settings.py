# SPDX-License-Identifier: Apache-2.0
"""Settings of earlier versions: what replaced them, or where measurement decided them, so that no upgrade is silent."""

from __future__ import annotations

from fnmatch import fnmatchcase

_DECIDED = "is no setting any more, measurement decided it"

REMOVED: dict[str, str] = {
    "refiner.near_passes": "is now refiner.max_iterations",
    "refiner.doubtful_*_passes": "follows from refiner.max_iterations",
    "refiner.coarse_passes": f"{_DECIDED}: 5 iterations at 1/8 from a wide start (localization/refine_plan.py)",
    "refiner.fine_passes": f"{_DECIDED}: 6 iterations at 1/4 from a wide start (localization/refine_plan.py)",
    "refiner.restart*": f"{_DECIDED} (localization/multi_start.py)",
    "refiner.agreement": f"{_DECIDED}: 0.3 (localization/multi_start.py)",
    "refiner.*settled_*": f"{_DECIDED} (convergence in localization/refine_plan.py)",
    "refiner.splat_m": f"{_DECIDED}: points are drawn by the density around them",
    "refiner.max_depth_m": f"{_DECIDED}: 80 m, as the networks were trained",
    "refiner.*_weighting": f"{_DECIDED} (localization/refine_plan.py)",
    "refiner.block_px": f"{_DECIDED}: 32 px (localization/refine_plan.py)",
    "refiner.border_cells": f"{_DECIDED}: 1 (localization/iterations.py)",
    "refiner.min_matches": f"{_DECIDED}: 30 (localization/iterations.py)",
    "refiner.prior_sigma_*": f"{_DECIDED}: 2 m and 10 degrees, as the networks were trained",
    "refiner.geometry": "follows from refiner.device: on a GPU where PyTorch finds one",
    "tracker.crop_radius_m": f"{_DECIDED}: 60 m (localization/submap_cache.py)",
    "tracker.crop_reuse_m": f"{_DECIDED}: 4 m (localization/submap_cache.py)",
    "tracker.prefetch_m": f"{_DECIDED}: 40 m (localization/submap_cache.py)",
    "tracker.min_crop_points": f"{_DECIDED}: 200 points (localization/submap_cache.py)",
    "tracker.coarse": "is no setting any more: images are searched over a wide range unless the pose is sure",
    "tracker.coarse_*": f"{_DECIDED} (localization/tracker.py)",
    "tracker.search": "is no setting any more: the first image after a start is refined from several starts if needed",
    "tracker.motion.translation_per_radian": "follows from tracker.motion.translation_per_metre",
    "tracker.motion.rotation_per_metre_deg": "follows from tracker.motion.rotation_per_radian_deg",
    "tracker.motion.velocity_walk": f"{_DECIDED}: 0.6, 0.15, 0.1 m after 1 s (localization/motion.py)",
    "tracker.motion.turn_walk_deg": f"{_DECIDED}: 1, 1, 3 degrees after 1 s (localization/motion.py)",
    "tracker.motion.*_per_second*": f"{_DECIDED} (localization/motion.py)",
    "tracker.motion.unknown_speed": f"{_DECIDED}: 8 m/s (localization/motion.py)",
    "tracker.motion.max_speed": f"{_DECIDED}: 70 m/s (localization/motion.py)",
    "tracker.motion.max_acceleration": f"{_DECIDED}: 20 m/s^2 (localization/motion.py)",
    "tracker.motion.max_gap_s": f"{_DECIDED}: 0.5 s (localization/motion.py)",
    "tracker.motion.max_extrapolation_s": f"{_DECIDED}: 0.15 s (localization/motion.py)",
    "tracker.motion.history_s": f"{_DECIDED}: 30 s (localization/motion.py)",
    "tracker.measurement.covariance_scale": f"{_DECIDED}: 4 (localization/measurement.py)",
    "tracker.measurement.bias_m": f"{_DECIDED}: 0.12 m ahead, 0.06 m across (localization/measurement.py)",
    "tracker.measurement.bias_deg": f"{_DECIDED}: 0.12 degrees (localization/measurement.py)",
    "tracker.measurement.unconfirmed_scale": f"{_DECIDED}: 4 (localization/measurement.py)",
    "tracker.measurement.floor_m": f"{_DECIDED}: 0.05 m (localization/measurement.py)",
    "tracker.measurement.floor_deg": f"{_DECIDED}: 0.1 degrees (localization/measurement.py)",
    "tracker.measurement.min_matches": f"{_DECIDED}: 30 (localization/measurement.py)",
    "tracker.measurement.reconverge_after": f"{_DECIDED}: 5 (localization/reconvergence.py)",
    "tracker.measurement.reconverge_m": f"{_DECIDED}: 4 m (localization/reconvergence.py)",
    "tracker.measurement.reconverge_scatter_*": f"{_DECIDED} (localization/reconvergence.py)",
    "tracker.measurement.reconverge_inliers": f"{_DECIDED}: 0.7 (localization/reconvergence.py)",
    "tracker.measurement.reconverge_deg": f"{_DECIDED}: 20 degrees (localization/reconvergence.py)",
    "tracker.states.tracking_scatter_m": "is half of tracker.states.tracking_sigma_m",
    "tracker.states.tracking_scatter_deg": "is 0.4 of tracker.states.tracking_sigma_deg",
    "tracker.states.degraded_sigma_m": "is 1.6 times tracker.states.tracking_sigma_m",
    "tracker.states.degraded_sigma_deg": "is 1.5 times tracker.states.tracking_sigma_deg",
    "tracker.states.degraded_inlier_ratio": "is twice tracker.measurement.min_inlier_ratio",
    "tracker.states.degraded_after": f"{_DECIDED}: 3 images (localization/transitions.py)",
    "tracker.states.degraded_inlier_share": f"{_DECIDED}: 0.5 (localization/transitions.py)",
    "tracker.states.degraded_innovation": f"{_DECIDED}: 6 (localization/transitions.py)",
    "tracker.states.degraded_scatter_*": "follows from tracker.states.tracking_sigma_m and tracking_sigma_deg",
    "tracker.states.lost_sigma_*": f"{_DECIDED}: 4 m and 20 degrees (localization/states.py)",
    "relocalize.radius_m": f"{_DECIDED}: 30 m (localization/relocalize.py)",
    "relocalize.period_s": f"{_DECIDED}: 5 s (localization/health.py)",
    "relocalize.min_inlier_ratio": f"{_DECIDED}: 0.28 (localization/relocalize.py)",
    "relocalize.spacing_m": f"{_DECIDED} (localization/relocalize.py)",
    "relocalize.doubt_s": f"{_DECIDED} (localization/relocalize.py)",
    "relocalize.max_candidates": f"{_DECIDED} (localization/relocalize.py)",
    "relocalize.margin": f"{_DECIDED} (localization/relocalize.py)",
    "relocalize.supporters": f"{_DECIDED} (localization/relocalize.py)",
    "relocalize.apart_m": f"{_DECIDED} (localization/relocalize.py)",
    "initial_age_s": f"{_DECIDED}: 20 s (nodes/initial_pose.py)",
    "time_jump_s": f"{_DECIDED}: 1 s (localization/image_order.py)",
    "diagnostics.max_age_s": "is a fifth of tracker.states.lost_after_s",
    "diagnostics.max_dropped_share": f"{_DECIDED}: 0.5 (nodes/diagnostics.py)",
    "overlay_period_s": f"{_DECIDED}: 0.5 s (nodes/localizer_output.py)",
    "path_step_m": f"{_DECIDED}: 0.5 m (nodes/localizer_output.py)",
    "path_poses": f"{_DECIDED}: 2000 poses (nodes/localizer_output.py)",
}
"""Names, or patterns of names, of settings that are gone, and the rest of the sentence about them."""


def about(name: str) -> str | None:
    """The rest of a sentence about a setting that does not exist any more; None for one that never did."""
    return next((sentence for pattern, sentence in REMOVED.items() if fnmatchcase(name, pattern)), None)
