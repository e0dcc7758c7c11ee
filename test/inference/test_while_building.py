# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime answers while an engine is built: real threads, a builder that does as it is told."""

import logging
import subprocess
import sys
import threading

import numpy as np
import pytest

from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.inference import State, find_model
from lhmap_loc_ros.inference.model import Model
from lhmap_loc_ros.inference.onnx_backend import OnnxModel
from lhmap_loc_ros.inference.while_building import ModelWhileBuilding

PATIENCE_S = 10


class Engine(Model):
    """Answers with ones, which ONNX Runtime does not."""

    def __init__(self, like: Model):
        super().__init__(
            like.path, like.sha256, like.inputs, like.outputs, like.metadata, "TensorRT 11.0, a GPU", "fp16"
        )

    def _run(self, inputs):
        return {name: np.ones(1, np.float32) for name in self.outputs}


class Builder:
    """Builds when it is told to, and shows how far it is."""

    def __init__(self, like: Model, problem: Exception | None = None):
        self.go, self.began, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._like, self._problem = like, problem

    def __call__(self, progress):
        progress(2, 5)
        self.began.set()
        assert self.go.wait(PATIENCE_S)
        self.ended.set()
        if self._problem is not None:
            raise self._problem
        return Engine(self._like)


@pytest.fixture
def serving():
    return OnnxModel(find_model("heat"), threads=1)


@pytest.fixture
def zeros(serving):
    return {"map": np.zeros(serving.inputs["map"], np.float32)}


def test_onnx_runtime_answers_until_the_engine_is_ready(serving, zeros):
    builder = Builder(serving)
    model = ModelWhileBuilding(serving, builder)
    assert builder.began.wait(PATIENCE_S)
    assert model.state is State.BUILDING and model.status == "the engine of heat is being built, 40 %"
    assert (model.backend, model.precision) == ("ONNX Runtime, CPU", "fp32")
    assert model.run(zeros)["heat"].shape == (1, 1, 96, 320)
    builder.go.set()
    model.wait(PATIENCE_S)
    assert (model.state, model.status) == (State.READY, "loaded")
    assert (model.backend, model.precision) == ("TensorRT 11.0, a GPU", "fp16")
    assert model.run(zeros)["heat"].tolist() == [1]


@pytest.mark.parametrize("problem", [ModelError("SM 61 is too old"), RuntimeError("out of memory")])
def test_onnx_runtime_goes_on_where_the_build_fails(serving, zeros, caplog, problem):
    builder = Builder(serving, problem)
    builder.go.set()
    model = ModelWhileBuilding(serving, builder)
    model.wait(PATIENCE_S)
    assert model.state is State.FAILED
    assert model.status == f"the engine of heat could not be built: {problem}"
    assert model.backend == "ONNX Runtime, CPU" and model.run(zeros)["heat"].shape == (1, 1, 96, 320)
    assert str(problem) in caplog.text


def test_answers_never_stop_while_the_engine_takes_over(serving, zeros):
    builder = Builder(serving)
    model = ModelWhileBuilding(serving, builder)
    sizes = []

    def ask():
        for _ in range(30):
            sizes.append(model.run(zeros)["heat"].size)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    builder.go.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    model.wait(PATIENCE_S)
    assert len(sizes) == 60 and set(sizes) <= {1, 96 * 320}


def test_engines_are_built_one_at_a_time(serving):
    first, second = Builder(serving), Builder(serving)
    models = [ModelWhileBuilding(serving, first)]
    assert first.began.wait(PATIENCE_S)
    models.append(ModelWhileBuilding(serving, second))
    assert not second.began.wait(0.2)
    first.go.set()
    assert second.began.wait(PATIENCE_S) and first.ended.is_set()
    second.go.set()
    for model in models:
        model.wait(PATIENCE_S)
        assert model.state is State.READY


def test_the_network_is_described_as_ever_and_inputs_are_checked(serving):
    builder = Builder(serving)
    builder.go.set()
    model = ModelWhileBuilding(serving, builder)
    for name in ("path", "sha256", "inputs", "outputs", "metadata"):
        assert getattr(model, name) == getattr(serving, name)
    with pytest.raises(ModelError, match="input 'map'"):
        model.run({})


def test_progress_is_logged(serving, caplog):
    def build(progress):
        for k in range(101):
            progress(k, 100)
        return Engine(serving)

    with caplog.at_level(logging.INFO):
        ModelWhileBuilding(serving, build).wait(PATIENCE_S)
    assert "ONNX Runtime, CPU answers meanwhile" in caplog.text and "50 %" in caplog.text
    assert caplog.text.count("%") <= 11 and "runs in TensorRT 11.0, a GPU" in caplog.text


def test_a_process_that_ends_stops_the_build():
    code = """if True:
        import time
        from lhmap_loc_ros.inference import find_model
        from lhmap_loc_ros.inference.onnx_backend import OnnxModel
        from lhmap_loc_ros.inference.while_building import ModelWhileBuilding
        def build(progress):
            while progress(1, 2):
                time.sleep(0.01)
            print("stopped", flush=True)
            raise RuntimeError
        ModelWhileBuilding(OnnxModel(find_model("heat"), threads=1), build)
        time.sleep(0.3)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "stopped"), done.stderr
