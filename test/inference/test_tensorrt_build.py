# SPDX-License-Identifier: Apache-2.0
"""Engines for other machines' GPUs, built without one by tensorrt_rtx."""

import json

import pytest
from helpers.shipped_models import SHIPPED
from typer.testing import CliRunner

trt = pytest.importorskip("tensorrt_rtx")
pytest.importorskip("onnx")

from lhmap_loc_ros.cli import app
from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.inference import engines as engines_module
from lhmap_loc_ros.inference import find_model
from lhmap_loc_ros.inference.engine_cache import EngineCache
from lhmap_loc_ros.inference.engines import Engines, sm_to_build_for
from lhmap_loc_ros.inference.gpu import Gpu
from lhmap_loc_ros.inference.model import read_network
from lhmap_loc_ros.inference.tensorrt_build import build_engine, onnx_for_engine, share_done
from lhmap_loc_ros.inference.tensorrt_package import import_tensorrt, known_targets

SM = 86


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LHMAP_CACHE", str(tmp_path))
    # a machine may have the other package as well
    for module in ("lhmap_loc_ros.inference.tensorrt_package", "lhmap_loc_ros.inference.loading"):
        monkeypatch.setattr(f"{module}.PACKAGES", ("tensorrt_rtx",))
    import_tensorrt.cache_clear()
    yield EngineCache()
    import_tensorrt.cache_clear()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_network_parses_and_builds(name, precision):
    told = []

    def progress(done, total):
        told.append(done / total)
        return True

    onnx = onnx_for_engine(read_network(find_model(name)), precision)
    assert len(build_engine(trt, name, onnx, SM, progress)) > 1e5
    assert told == sorted(told) and 0 < told[-1] <= 1 and len(told) > 10


def test_half_precision_makes_smaller_engines():
    network = read_network(find_model("heat"))
    single, half = (len(build_engine(trt, "heat", onnx_for_engine(network, p), SM)) for p in ("fp32", "fp16"))
    assert half < 0.9 * single


def test_what_the_parser_says_is_told():
    with pytest.raises(ModelError, match="junk: tensorrt_rtx .* cannot parse it: .*Failed to parse"):
        build_engine(trt, "junk", b"junk", SM)


def test_an_unknown_target_is_refused_with_the_known_ones():
    with pytest.raises(ModelError, match="does not know SM 61, expected one of 75, 80, 86"):
        Engines(trt, 61, EngineCache())


def test_a_build_ends_where_it_is_told_to():
    onnx = onnx_for_engine(read_network(find_model("heat")), "fp32")
    with pytest.raises(ModelError, match="cannot build an engine for SM 86: .*[Cc]ancel"):
        build_engine(trt, "heat", onnx, SM, lambda done, total: False)


def test_progress_counts_phases_within_phases():
    assert share_done([]) == 0
    assert share_done([(1, 4)]) == 0.25
    assert share_done([(1, 4), (1, 2)]) == pytest.approx(0.375)
    assert share_done([(4, 4), (5, 4)]) == 1


def test_engines_come_out_of_the_cache_the_second_time(cache):
    network, engines = read_network(find_model("heat")), Engines(trt, SM, cache)

    def never(done, total):
        raise AssertionError("it was built again")

    assert not engines.there(network, "fp32")
    built = engines.obtain(network, "fp32", lambda done, total: True)
    assert engines.there(network, "fp32") and not engines.there(network, "fp16")
    assert engines.obtain(network, "fp32", never) == built
    engines.discard(network, "fp32", "of no use")
    assert not engines.there(network, "fp32")


def test_the_target_is_the_gpu_here_or_what_is_asked_for(monkeypatch):
    monkeypatch.setattr(engines_module, "find_gpu", lambda: None)
    assert sm_to_build_for(trt, 89) == 89
    with pytest.raises(ModelError, match="no NVIDIA GPU answers here.*--sm, one of 75"):
        sm_to_build_for(trt, None)
    monkeypatch.setattr(engines_module, "find_gpu", lambda: Gpu(0, "a GPU", 120))
    assert sm_to_build_for(trt, None) == 120


def test_engines_are_built_in_the_precision_that_they_are_loaded_in(cache):
    code, _, err = lhmap("build", "heat", "--sm", str(SM), "--precision", "auto")
    assert code == 0, err
    assert [entry.precision for entry in cache.entries()] == ["fp32"]
    assert Engines(trt, SM, cache).there(read_network(find_model("heat")), "fp32")


def test_a_tensorrt_that_builds_for_this_gpu_only_says_so(monkeypatch):
    class Full:
        __name__, __version__ = "tensorrt", "11.0"

    assert known_targets(Full) == []
    monkeypatch.setattr(engines_module, "find_gpu", lambda: Gpu(0, "a GPU", 86))
    assert sm_to_build_for(Full, None) == sm_to_build_for(Full, 86) == 86
    with pytest.raises(ModelError, match=r"GPU of this machine only \(SM 86\), asked for SM 89"):
        sm_to_build_for(Full, 89)


def lhmap(*words):
    result = CliRunner().invoke(app, ["engine", *words])
    return result.exit_code, result.stdout, result.stderr


def test_commands_build_list_and_clean():
    code, out, err = lhmap("build", "heat", "flow_image", "--sm", str(SM), "--precision", "fp16")
    assert (code, "2 networks" in out, "heat: done" in err) == (0, True, True), err
    rows = json.loads(lhmap("list", "--json")[1])
    assert [(r["network"], r["precision"], r["target"]) for r in rows] == [
        ("flow_image", "fp16", "sm86"), ("heat", "fp16", "sm86"),
    ]  # fmt: skip
    assert rows[0]["bytes"] > 1e5 and trt.__version__ in rows[0]["tensorrt"] and rows[0]["built"].startswith("20")
    assert "flow_image" in lhmap("list")[1]
    assert "1 engines deleted" in lhmap("clean", "heat")[1]
    assert "1 engines deleted" in lhmap("clean")[1]
    assert "no engines" in lhmap("list")[1] and lhmap("list", "--json")[1].strip() == "[]"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("build", "--sm", "61"), "does not know SM 61"),
        (("build", "--sm", "86", "--precision", "bf16"), "'bf16' does not go with TensorRT"),
        (("build", "nothing_like_it", "--sm", "86"), "nothing_like_it not found"),
    ],
)
def test_commands_refuse_in_one_line(words, expected):
    code, _, err = lhmap(*words)
    assert (code, err.count("\n"), expected in err) == (2, 1, True), err
