# SPDX-License-Identifier: Apache-2.0
"""The tool that writes the tables of docs/accuracy.md, its commands answered by made-up figures."""

import json

import pytest


@pytest.fixture
def tool(tmp_path, monkeypatch, load_tool):
    module = load_tool("accuracy")
    page = tmp_path / "page.md"
    page.write_text(module.PAGE.read_text())
    monkeypatch.setattr(module, "PAGE", page)
    return module


class Answers:
    """Knows how every evaluation ends, and writes down what was asked."""

    def __init__(self, work):
        self.work, self.asked = work, []

    def make(self, path, *words):
        self.asked.append(words)
        return path

    def evaluate(self, cases):
        self.asked += [(data["map"], data["frames"], level, *options) for data, level, options in cases]
        return [
            {"frames": 7, "translation_median_m": 0.2 if "--config" in options or ".even." in data["map"] else 0.1,
             "rotation_median_deg": 0.3, "recall_050m_5deg": 0.95}
            for data, _, options in cases
        ]  # fmt: skip

    def megabytes_per_km(self, path):
        return 42.0 if path.endswith(".full.lhmap") else float(path.split(".", 2)[2].removesuffix(".lhmap"))


DATA = {"street": {"map": "w.lhmap", "bag": "w/query", "frames": "0-9999/4"}}


def test_ablation_compares_on_fewer_images_and_says_how_many(tool, tmp_path):
    bench = Answers(tmp_path)
    networks = {"other": ("--method", "flow", "--model", "runs/other")}
    text = tool.ablation(bench, DATA, networks).splitlines()
    assert text[0] == "| variant | street (7 images) |"
    assert "| as shipped | 0.10 m / 0.30°, 95 % |" in text and "| no search | 0.20 m / 0.30°, 95 % |" in text
    assert json.loads((tmp_path / "no_search.yaml").read_text()) == {
        "plan": {"schedules": {"multi_start": {"multi_start": False}}}
    }
    assert ("w.lhmap", "0-9999/16", 1, "--no-grey", "--method", "flow", "--model", "runs/other") in bench.asked


def test_sizes_compares_heat_with_an_even_sample_at_equal_bytes_and_draws_it(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "SIZE_PLOT", tmp_path / "sizes.png")
    bench = Answers(tmp_path)
    text = tool.sizes(bench, DATA, {"shipped": "heat"}).splitlines()
    assert "| every point, to 2 cm | 42.00 |" in text and "| 1 MB/km, even sample | 1.00 |" in text
    assert "| 1 MB/km, heat: shipped | 0.10 m / 0.30°, 95 % |" in text
    assert "| 1 MB/km, even sample | 0.20 m / 0.30°, 95 % |" in text
    assert len(text) == 1 + 2 * (4 + 2 * len(tool.SIZES)) and (tmp_path / "sizes.png").stat().st_size > 1000
    built = [words for words in bench.asked if words[:2] == ("build", "w/mapping")]
    settings = [json.loads((tmp_path / words[words.index("-c") + 1]).read_text()) for words in built]
    assert settings[:2] == [{"budget_mb_per_km": None, "resolution_m": 0.02}, {"budget_mb_per_km": None}]
    assert {"budget_mb_per_km": 0.5, "heat": "none"} in settings


def test_coverage_of_all_images_counts_every_image_once(tool, monkeypatch):
    class Bench:
        def evaluate(self, cases):
            return [
                data | {"within_sigmas": {k: [data["share"] / len(options)] * 6 for k in "123"}}
                for data, _, options in cases
            ]

    monkeypatch.setattr(tool, "synthetic", lambda *_: {"frames": 20, "share": 1.5})
    groups = {"few": {"frames": 10, "share": 1.0}, "many": {"frames": 30, "share": 1.8}}
    lines = tool.covariance(Bench(), groups, {"other": ("--method", "flow", "--model", "x")}).splitlines()
    assert lines[2].startswith("| few | 1 | 50 / 50 / 50")
    assert lines[8] == "| synthetic, seeds 9040 to 9047 | 1 | " + " | ".join(["50 / 50 / 50"] * 6) + " |"
    assert lines[11] == "| all 200 images | 1 | " + " | ".join(["56 / 56 / 56"] * 6) + " |"
    assert lines[14] == "| all 200 images, other | 1 | " + " | ".join(["32 / 32 / 32"] * 6) + " |"
    assert len(lines) == 17


def test_a_table_replaces_the_one_before_and_nothing_else(tool):
    before = tool.PAGE.read_text()
    for part in ("table", "covariance", "ablation", "robustness", "size"):
        tool.write(part, f"| {part} |")
        assert f"<!-- {part} -->\n\n| {part} |\n\n<!-- end {part} -->" in tool.PAGE.read_text()
    headings = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in tool.PAGE.read_text().splitlines() if line.startswith("#")] == headings
    with pytest.raises(SystemExit, match="markers of speed"):
        tool.write("speed", "")


def test_results_of_two_runs_at_a_time_are_all_kept(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(tool.Bench, "lhmap", lambda self, *words, **_: json.dumps({"level": words[8]}))
    first, second = tool.Bench(tmp_path), tool.Bench(tmp_path)
    first.evaluate([(DATA["street"], 1, ())])
    assert second.evaluate([(DATA["street"], 2, ()), (DATA["street"], 3, ())]) == [{"level": "2"}, {"level": "3"}]
    assert len(tool.Bench(tmp_path).results) == 3
