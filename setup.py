# SPDX-License-Identifier: Apache-2.0
"""Build by pip and by colcon alike: the package, its models, launch files and configuration."""

from collections import defaultdict
from pathlib import Path

from setuptools import find_packages, setup

NAME = "lhmap_loc_ros"
SHARE = f"share/{NAME}"


def installed(folder):
    """The files of a folder and of those in it, each with the place it is installed to."""
    found = defaultdict(list)
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith("."):
            found[f"{SHARE}/{path.parent.as_posix()}"].append(path.as_posix())
    return list(found.items())


setup(
    name=NAME,
    version="0.1.0",
    description="Camera localization in a compressed LiDAR map, for ROS 2",
    long_description=Path("README.md").read_text() if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="lhmap_loc_ros maintainers",
    maintainer="lhmap_loc_ros maintainers",
    maintainer_email="maintainers@example.com",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["evaluation/start_errors.csv", "bench/*.onnx"]},
    python_requires=">=3.10",
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (SHARE, ["package.xml"]),
        *installed("launch"),
        *installed("config"),
        *installed("models"),
    ],
    # What a machine without a ROS installation needs. On a robot rosdep installs what package.xml names; the
    # rest is not in Debian and comes from pip there too.
    install_requires=[
        "numpy>=1.26",
        "scipy>=1.8",
        "numba>=0.59",
        "opencv-python-headless>=4.6",
        "pydantic>=2",
        "pyyaml",
        "typer>=0.9",
        "rich",
        "rosbags>=0.10",
        "onnxruntime>=1.17",
        "matplotlib>=3.5",
        "plotly>=5",
        "embreex",
        "laspy[lazrs]>=2.5",
        "plyfile>=1.0",
        "pypcd4>=1.1",
        "kiss-icp>=1.0",
    ],
    extras_require={
        "test": ["pytest", "pytest-cov", "pytest-timeout", "hypothesis", "evo", "ruff", "pyarrow>=14", "distributed"],
        "train": ["torch==2.13.0", "onnx", "onnxscript", "safetensors", "lightning-fabric>=2.4", "tensorboard"],
        "argoverse": ["pyarrow>=14"],
        "dask": ["distributed"],
        "open3d": ["open3d"],
        # backends of the networks; each but ONNX Runtime reads the file by the package onnx
        "openvino": ["openvino>=2024.4", "onnx"],
        "tensorrt": ["tensorrt>=10", "cuda-python>=12.6", "onnx"],
        # GeForce and RTX GPUs; it also builds engines where there is no GPU, so tests use it. x86-64 only
        "tensorrt-rtx": [
            "tensorrt-rtx-cu13>=1.4,<2; platform_machine == 'x86_64'", "cuda-python>=13", "onnx",
        ],
    },
    entry_points={
        "console_scripts": [
            f"lhmap = {NAME}.cli:main",
            f"localizer_node = {NAME}.nodes.start:localizer_node",
            f"map_builder_node = {NAME}.nodes.start:map_builder_node",
            f"player_node = {NAME}.nodes.start:player_node",
            f"recorder_node = {NAME}.nodes.start:recorder_node",
        ],
    },
    zip_safe=False,
)
