# SPDX-License-Identifier: Apache-2.0
"""What every backend gives: a network with named inputs and outputs of fixed shape."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError

METADATA_KEY = "lhmap"
"""Key of the ONNX metadata that holds this package's settings as JSON."""
Shape = tuple[int, ...]
Grid = tuple[int, int]
"""Width and height in pixels."""
DEFAULT_GRID: Grid = (608, 176)
"""Of a network that takes any, where nothing else is said."""


class State(str, Enum):
    """Whether a network runs where it should."""

    READY = "ready"
    BUILDING = "building"
    """Its engine is being built; another backend answers meanwhile."""
    FAILED = "failed"
    """Its engine could not be built; another backend answers for good."""


@dataclass(frozen=True)
class Network:
    """A network file and what it says of itself."""

    path: Path
    content: bytes
    """ONNX."""
    sha256: str
    """Of the file."""
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    metadata: dict[str, Any]
    """This package's settings in the file; empty if there are none."""


def read_network(path: Path, grid: Grid = DEFAULT_GRID) -> Network:
    """Reads an ONNX file by the package onnx, for one pixel grid; raises ModelError where it is not usable."""
    onnx = import_onnx()
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and onnx raise their own, unrelated types
        raise ModelError(f"{path} is not a usable ONNX network: {str(error).splitlines()[0]}") from error
    constants = {tensor.name for tensor in model.graph.initializer}
    sizes = free_sizes(grid)
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in sizes:
                dimension.dim_value = sizes[dimension.dim_param]
    return Network(
        path=path,
        content=model.SerializeToString(),
        sha256=hashlib.sha256(content).hexdigest(),
        inputs={value.name: _shape(path, value) for value in model.graph.input if value.name not in constants},
        outputs={value.name: _shape(path, value) for value in model.graph.output},
        metadata=parse_metadata({entry.key: entry.value for entry in model.metadata_props}),
    )


def free_sizes(grid: Grid) -> dict[str, int]:
    """By their names in the files, the sizes that networks for any grid leave open: of images, and of cells."""
    width, height = grid
    sizes = {"width": width, "height": height}
    return sizes | {f"{name}/{cell}": size // cell for name, size in sizes.items() for cell in (4, 8)}


def import_onnx() -> Any:
    """The package onnx; raises ModelError that tells how to get it."""
    try:
        import onnx
    except ImportError:
        raise ModelError("this backend or precision needs the package onnx: pip install onnx") from None
    return onnx


def parse_metadata(properties: dict[str, str]) -> dict[str, Any]:
    """This package's settings out of the metadata of an ONNX file."""
    return json.loads(properties.get(METADATA_KEY, "{}"))


def _shape(path: Path, value: Any) -> Shape:
    """The shape of a graph's input or output; raises ModelError unless it is fixed."""
    sizes = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim)
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ModelError(f"{path}: {value.name!r} has shape {sizes}, expected fixed sizes")
    return sizes


class Model(ABC):
    """A loaded network. `run` may be called by several threads."""

    state = State.READY
    status = "loaded"
    """`state` in words, for people."""
    tensor_device: str | None = None
    """The device whose PyTorch tensors `run_on_device` takes: cpu, cuda:NUMBER; None if it takes none."""
    cpu_threads = 0
    """How many threads of the CPU it computes with; 0: none, or its threads get in the way of another network's."""
    keeps_memory = True
    """What `run` needs on the CPU is kept for the next time; false for networks that are seldom run."""

    def __init__(
        self, path: Path, sha256: str, inputs: dict[str, Shape], outputs: list[str], metadata: dict[str, Any],
        backend: str, precision: str,
    ):  # fmt: skip
        self.path = path
        self.sha256 = sha256
        """Of the file, whatever the precision it is used in."""
        self.inputs, self.outputs, self.metadata = inputs, outputs, metadata
        self.backend = backend
        """What computes, with its device: "ONNX Runtime, CPU"."""
        self.precision = precision
        """fp32, fp16, bf16 or int8."""

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, float32. Raises ModelError for a missing input, a wrong shape or type."""
        self._check(inputs, np.float32)
        return self._run(inputs)

    def run_on_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """`run` of PyTorch tensors on `tensor_device`, to tensors there; ModelError also where that is None."""
        if self.tensor_device is None:
            raise ModelError(f"{self.path.name}: {self.backend} takes no tensors")
        import torch

        self._check(inputs, torch.float32)
        return self._run_on_device(inputs)

    def _check(self, inputs: dict[str, Any], kind: Any) -> None:
        for name, shape in self.inputs.items():
            value = inputs.get(name)
            found = None if value is None else tuple(value.shape)
            if value is None or found != shape:
                raise ModelError(f"{self.path.name}: input {name!r} has shape {found}, expected {shape}")
            if value.dtype != kind:
                raise ModelError(f"{self.path.name}: input {name!r} is {value.dtype}, expected float32")

    @abstractmethod
    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`run` of inputs that fit."""

    def _run_on_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """`run_on_device` of inputs that fit, where there is a `tensor_device`."""
        raise NotImplementedError
