# SPDX-License-Identifier: Apache-2.0
"""One way to localize, in a process of its own: reads how many images to localize, writes how long each step took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from ..configuration import Config
from ..datasets.bag import BagReader
from ..datasets.decoding import decode_compressed_image, decode_image
from ..datasets.trajectory import Trajectory
from ..datasets.tum import read_tum
from ..errors import InputError
from ..inference import Backend, load_model
from ..lhmap import LHMap
from ..localization.estimate import PosedCamera
from ..localization.inputs import BagInputs, read_odometry, read_setup
from ..localization.localizer import Localizer
from ..localization.offline import SensorFeed
from ..localization.refine import RefinePlan, Refiner, RefinerConfig
from ..localization.regressor import Correction, Regressor, RegressorConfig
from ..localization.start import near_truth
from ..localization.submap_cache import SUBMAP_RADIUS_M
from ..memory import give_back_large_arrays, resident_mb

REFERENCE = Path(__file__).with_name("reference_384x1280.onnx")
"""The reference method's network; every weight is one number (tools/reference_graph.py)."""
REFERENCE_ITERATIONS = 3


class Case(Config):
    """What is timed."""

    method: str = Field("flow", pattern="^(flow|regress)$")
    refiner: RefinerConfig = RefinerConfig()
    """Of `flow`."""
    plan: RefinePlan = RefinePlan()
    map: Path
    bag: Path
    truth: Path
    """TUM file of base_link in the map."""
    inputs: BagInputs = BagInputs()
    warm_up: int = Field(10, ge=0, description="images after a start that do not count: searching far, compiling")


class Times(Config):
    """What a worker answers."""

    steps: dict[str, list[float]]
    """Duration of each step for each image, and `total`, from the message to the pose and its messages [ms]."""
    rss_mb: float
    backend: str
    precision: str
    input: str
    """Height x width of the network's image."""
    refinements: int
    iterations: list[int]
    """Refinements of each image."""


class _Tracking:
    """The default: tracking, as the node has it."""

    def __init__(self, case: Case, lhmap: LHMap, truth: Trajectory, odometry: Trajectory | None):
        self._map, self._truth, self._odometry = lhmap, truth, odometry
        self._refiner = Refiner(case.refiner, plan=case.plan)
        models = self._refiner.models
        self.refinements = case.refiner.max_iterations
        self.backend, self.precision = models.networks[0].backend, models.networks[0].precision
        self._output, self.iterations = _output(lhmap), 0

    @property
    def input(self) -> str:
        """Height and width of the grid that the camera's images lie on."""
        height, width = self._refiner.networks[0].inputs["image"][2:]
        return f"{height}x{width}"

    def start(self, stamp_ns: int) -> None:
        """A drive begins."""
        self._localizer = Localizer(self._map, refiner=self._refiner)
        self._feed = SensorFeed(self._odometry, self._localizer)
        self._feed.until(stamp_ns)
        pose = near_truth(self._truth, stamp_ns, seed=0)
        self._localizer.start(pose.T_map_base, pose.covariance, stamp_ns)

    def localize(self, stamp_ns: int, image: np.ndarray, camera: PosedCamera) -> dict[str, float]:
        """The steps of one image, undistorted [ms]."""
        self._feed.until(stamp_ns)
        result = self._localizer.track(image, camera, stamp_ns)
        began = time.perf_counter()
        self.iterations, steps = 0, {"crop": result.timings_ms["crop"]}
        if result.refinement is not None:
            self.iterations, steps = result.refinement.iterations, steps | result.refinement.timings_ms
        if self._output is not None:
            self._output.publish_track(result)
            self._output.publish_status(result, result.timings_ms["total"])
            steps["publish"] = 1e3 * (time.perf_counter() - began)
        return steps


class _Untrained(Correction):
    """Takes as long as a trained network of the reference method, and leaves the pose where it is."""

    def __init__(self, threads: int):
        self._model = load_model(REFERENCE, Backend.ONNXRUNTIME, threads=threads)
        self.backend = self._model.backend
        self.width, self.height = int(self._model.metadata["width"]), int(self._model.metadata["height"])

    def __call__(self, image, depth):
        self._model.run({"image": image[None], "depth": depth[None]})
        return np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])


class _Reference:
    """LHMap-loc's online networks, one after the other."""

    precision, refinements, iterations = "fp32", REFERENCE_ITERATIONS, REFERENCE_ITERATIONS

    def __init__(self, case: Case, lhmap: LHMap, truth: Trajectory, odometry: Trajectory | None):
        self._map, self._truth = lhmap, truth
        stages = [_Untrained(case.refiner.threads) for _ in range(REFERENCE_ITERATIONS)]
        self._regressor = Regressor(RegressorConfig(), stages)
        self.input, self.backend = f"{stages[0].height}x{stages[0].width}", stages[0].backend

    def start(self, stamp_ns: int) -> None:
        """Nothing is remembered from image to image."""

    def localize(self, stamp_ns: int, image: np.ndarray, camera: PosedCamera) -> dict[str, float]:
        """The steps of one image, undistorted [ms]."""
        T_map_camera = self._truth.at(stamp_ns) @ camera.T_base_camera
        began = time.perf_counter()
        crop = self._map.crop(T_map_camera[:3, 3], SUBMAP_RADIUS_M)
        cropped = time.perf_counter()
        self._regressor.localize(image, camera.camera, crop, T_map_camera)
        return {"crop": 1e3 * (cropped - began), "network": 1e3 * (time.perf_counter() - cropped)}


def _output(lhmap: LHMap):
    """The node's publishers; None where there is no ROS."""
    try:
        from ..nodes.standalone import standalone_output
    except ImportError:
        return None
    return standalone_output(lhmap)


def drives(reader: BagReader, case: Case, truth: Trajectory, localizer) -> Iterator[tuple[int, dict[str, float]]]:
    """Refinements and steps [ms] of the images of a bag, drive after drive without end, less those of warming up."""
    setup = read_setup(reader, case.inputs)
    camera = PosedCamera(setup.camera, setup.T_base_camera)
    while True:
        counted = seen = 0
        for stamp_ns, message in reader.raw_messages(case.inputs.image):
            if not truth.covers(stamp_ns):
                continue
            if seen == 0:
                localizer.start(stamp_ns)
            seen += 1
            began = time.perf_counter()
            pixels = decode_compressed_image(message) if hasattr(message, "format") else decode_image(message)
            image = setup.rectifier(pixels)
            decoded = time.perf_counter()
            steps = localizer.localize(stamp_ns, image, camera)
            total = time.perf_counter() - began
            if seen > case.warm_up:
                counted += 1
                yield localizer.iterations, {"decode": 1e3 * (decoded - began), **steps, "total": 1e3 * total}
        if not counted:
            raise InputError(f"{case.bag}: {seen} images with a known pose, expected more than {case.warm_up}")


def serve(case: Case) -> None:
    """Answers every line with a number on stdin, how many images to localize, with a line of `Times` on stdout."""
    truth = read_tum(case.truth)
    with BagReader(case.bag) as reader, LHMap.open(case.map) as lhmap:
        kind = _Tracking if case.method == "flow" else _Reference
        localizer = kind(case, lhmap, truth, read_odometry(reader, case.inputs))
        images = drives(reader, case, truth, localizer)
        for line in sys.stdin:
            iterations, rows = zip(*(next(images) for _ in range(int(line))), strict=True)
            names = dict.fromkeys(name for row in rows for name in row)
            times = Times(
                steps={name: [round(row.get(name, 0.0), 3) for row in rows] for name in names},
                rss_mb=resident_mb(), backend=localizer.backend, precision=localizer.precision,
                input=localizer.input, refinements=localizer.refinements, iterations=iterations,
            )  # fmt: skip
            print(times.model_dump_json(), flush=True)


if __name__ == "__main__":
    give_back_large_arrays()
    serve(Case.model_validate_json(sys.argv[1]))
