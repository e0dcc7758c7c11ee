# SPDX-License-Identifier: Apache-2.0
"""The methods that the protocol compares."""

from __future__ import annotations

from ..errors import InputError
from ..geometry import Rig
from ..localization.network_set import ModelSet
from ..localization.offline import LocalizeConfig
from ..localization.refine import RefineMode, RefinePlan, Refiner, RefinerConfig
from ..localization.regressor import Regressor, RegressorConfig
from .protocol import Estimate, Method


class Start:
    """Stays at the start pose: what every method has to beat."""

    iterations = 1

    def localize(self, image, camera, crop, start) -> Estimate:
        """The start pose."""
        return Estimate((start,))


class Flow:
    """The refiner, as the localizer uses it on the first image after an initial pose."""

    def __init__(self, config: RefinerConfig, models: ModelSet | None = None, plan: RefinePlan | None = None):
        self._refiner = Refiner(config, models, plan)
        schedule = self._refiner.schedules[RefineMode.MULTI_START]
        self.iterations = len(schedule.cells) + schedule.multi_start

    def localize(self, image, camera, crop, start) -> Estimate:
        """The pose after each iteration, the coarse ones first, and where the best hypothesis led."""
        result = self._refiner.refine(image, camera, crop, start, RefineMode.MULTI_START, keep_trace=True)
        if not result.succeeded:
            return Estimate(())
        return Estimate(result.trace, result.covariance)


class Regress:
    """The reference method."""

    def __init__(self, regressor: Regressor):
        self._regressor = regressor
        self.iterations = len(regressor.stages)

    def localize(self, image, camera, crop, start) -> Estimate:
        """The pose after each of its networks; it knows no covariance. Raises InputError for a rig."""
        if isinstance(camera, Rig):
            raise InputError(f"method regress: a rig of {len(camera.cameras)} views found, expected one pinhole image")
        return Estimate(tuple(self._regressor.localize(image, camera, crop, start)))


class EvaluateConfig(LocalizeConfig):
    """As of a run, and how refinements go: what measurement decided can be measured again."""

    plan: RefinePlan = RefinePlan()


def make_method(
    name: str, model: str | None = None, refiner: RefinerConfig | None = None, plan: RefinePlan | None = None
) -> Method:
    """A method by its name; `model` replaces the network it is shipped with, `plan` the iterations of `flow`.

    Raises InputError for an unknown name, ModelError for a network that cannot be loaded.
    """
    if name == "start":
        return Start()
    if name == "flow":
        config = refiner or RefinerConfig()
        return Flow(config if model is None else config.model_copy(update={"model": model}), plan=plan)
    if name == "regress":
        return Regress(Regressor(RegressorConfig() if model is None else RegressorConfig(model=model)))
    raise InputError(f"method {name!r} does not exist, expected one of {', '.join(METHODS)}")


METHODS = ("start", "flow", "regress")
