# SPDX-License-Identifier: Apache-2.0
"""The tool that compares cameras and LiDARs, its evaluations answered by made-up figures."""

import pytest


@pytest.fixture
def tool(load_tool):
    return load_tool("sensor_matrix")


class Answers:
    """Knows how every evaluation ends, and writes down what was made."""

    def __init__(self):
        self.made = []

    def make(self, path, *words):
        self.made.append(words)
        return path


def test_every_robot_carries_every_camera_and_every_lidar(tool):
    pairs = list(tool.pairs())
    assert len({pair.name for pair in pairs}) == len(pairs)
    for robot in tool.ROBOTS:
        carried = [pair for pair in pairs if pair.robot == robot]
        assert {pair.camera for pair in carried} == set(tool.CAMERAS)
        assert {pair.lidar for pair in carried} == set(tool.LIDARS)


def test_a_pair_is_simulated_with_its_sensors_and_asked_for_as_many_images_whatever_its_speed(tool):
    bench = Answers()
    for pair in tool.pairs():
        data = tool.made(bench, pair)
        simulate, build = bench.made[-2:]
        assert simulate[simulate.index("--lidar") + 1] == pair.lidar and build[0] == "build"
        assert data["bag"].startswith(pair.name)
        speed, length = {"car": (7.0, 80.0), "cart": (1.5, 20.0), "dog": (1.2, 20.0)}[pair.robot]
        assert simulate[simulate.index("--length") + 1] == length
        step = int(data["frames"].rpartition("/")[2])
        assert len(range(0, round(10 * length / speed), step)) == 17


def test_the_table_has_a_row_for_each_camera_and_light(tool):
    figures = {
        "frames": 16, "translation_median_m": 0.1, "rotation_median_deg": 0.4, "recall_050m_5deg": 1.0,
        "wrong_and_sure": 0.0, "within_sigmas": {"1": [0.7] * 6, "2": [0.9] * 6, "3": [1.0] * 6},
    }  # fmt: skip
    lines = tool.table(dict.fromkeys(tool.pairs(), figures)).splitlines()
    assert len(lines) == 2 + 2 * len(tool.CAMERAS) + 2
    assert lines[2].startswith("| kitti | day | 0.10 m / 0.40°, 100 % (car) |")
    assert lines[2].endswith("| 70, 90, 100 % |")
    assert lines[3].count(" 100 % (") == 1
    assert lines[-1] == "400 images; 0.0 % wrong and sure; within 70, 90, 100 %."
