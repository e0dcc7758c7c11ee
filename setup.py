# SPDX-License-Identifier: Apache-2.0
"""Build by pip and by colcon alike: the package, its models, launch files and configuration."""

from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "lhmap_loc_ros"
SHARE = f"share/{NAME}"

# What localizing needs; lhmap_loc_ros/extras.py knows the extra of each other module. All of it goes with what Ubuntu
# 24.04 has (NumPy 1.26, SciPy 1.11, OpenCV 4.6), so that nothing of it is replaced on a robot.
CORE = [
    "numpy>=1.26",
    "scipy>=1.8",
    "numba>=0.59",
    "opencv-python-headless>=4.6",
    "pydantic>=2.7",
    "pyyaml",
    "onnxruntime>=1.17",
]
EXTRAS = {
    "map": ["rosbags>=0.11", "backports.zstd; python_version < '3.14'", "kiss-icp>=1.0"],
    # plyfile 1.1.4 and later would replace NumPy 1.26
    "clouds": ["laspy[lazrs]>=2.5", "lazrs>=0.6", "plyfile>=1.0,<1.1.4", "pypcd4>=1.1"],
    # embreex has no wheel for 64-bit Arm
    "sim": ["embreex; platform_machine != 'aarch64'", "rosbags>=0.11", "backports.zstd; python_version < '3.14'"],
    # contourpy, of matplotlib, would replace it from 1.4 on
    "viz": ["matplotlib>=3.6", "contourpy<1.4", "plotly>=5", "pillow>=9"],
    "cli": ["typer>=0.9", "rich"],
    "train": ["torch==2.13.0", "onnx", "onnxscript", "safetensors", "lightning-fabric>=2.4", "tensorboard"],
    "test": ["pytest", "pytest-cov", "pytest-timeout", "hypothesis", "evo", "pyarrow>=14", "distributed"],
    "lint": ["ruff", "mypy>=1.18", "types-PyYAML"],
    "docs": ["mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.25"],
    "argoverse": ["pyarrow>=14"],
    "dask": ["distributed"],
    "open3d": ["open3d"],
    # backends of the networks; each but ONNX Runtime reads the file by the package onnx
    "openvino": ["openvino>=2024.4", "onnx"],
    "tensorrt": ["tensorrt>=10", "cuda-python>=12.6", "onnx"],
    # GeForce and RTX GPUs; it also builds engines where there is no GPU, so tests use it. x86-64 only
    "tensorrt-rtx": ["tensorrt-rtx-cu13>=1.4,<2; platform_machine == 'x86_64'", "cuda-python>=13", "onnx"],
}
ALL = ("map", "clouds", "sim", "viz", "cli")


def installed(folder):
    """The files of a folder and of those in it, each with the place it is installed to."""
    found = defaultdict(list)
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith("."):
            found[f"{SHARE}/{path.parent.as_posix()}"].append(path.as_posix())
    return list(found.items())


setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    description="Camera localization in a compressed LiDAR map, for ROS 2",
    long_description=Path("README.md").read_text() if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="lhmap_loc_ros maintainers",
    maintainer="lhmap_loc_ros maintainers",
    maintainer_email="maintainers@example.com",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed", "evaluation/start_errors.csv", "bench/*.onnx"]},
    python_requires=">=3.10",
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        *installed("launch"),
        *installed("config"),
        *installed("models"),
    ],
    install_requires=CORE,
    extras_require={**EXTRAS, "all": sorted({need for extra in ALL for need in EXTRAS[extra]})},
    entry_points={
        "console_scripts": [
            f"lhmap = {NAME}.__main__:main",
            f"localizer_node = {NAME}.nodes.start:localizer_node",
            f"map_builder_node = {NAME}.nodes.start:map_builder_node",
            f"player_node = {NAME}.nodes.start:player_node",
            f"recorder_node = {NAME}.nodes.start:recorder_node",
        ],
    },
    zip_safe=False,
)
