# SPDX-License-Identifier: Apache-2.0
"""What a network can be computed by and in, and which goes with which."""

from __future__ import annotations

from enum import Enum

from ..errors import ModelError


class Backend(str, Enum):
    """What computes a network."""

    AUTO = "auto"
    """TensorRT where there are an NVIDIA GPU and a TensorRT package, else ONNX Runtime on the CPU."""
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"
    TORCH = "torch"
    """To compare with."""


class Precision(str, Enum):
    """What convolutions compute in; all else is single precision."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


PRECISIONS = {
    Backend.AUTO: (Precision.FP32, Precision.FP16),
    Backend.ONNXRUNTIME: (Precision.FP32, Precision.FP16),
    Backend.TENSORRT: (Precision.FP32, Precision.FP16),
    Backend.OPENVINO: (Precision.FP32, Precision.BF16),
    Backend.TORCH: (Precision.FP32,),
}
WITH_TENSORS = (Backend.TORCH, Backend.TENSORRT, Backend.AUTO)
"""What may take PyTorch's tensors where they are, see `Model.run_on_device`."""
_WITH_CUDA = (Backend.ONNXRUNTIME, Backend.TENSORRT, Backend.TORCH)


def check_choice(backend: Backend, precision: Precision, device: str) -> None:
    """Raises ModelError for a precision or a device that the backend does not have."""
    if precision not in PRECISIONS[backend]:
        known = " or ".join(p.value for p in PRECISIONS[backend])
        raise ModelError(f"precision {precision.value} does not go with backend {backend.value}, expected {known}")
    gpu_number(device)
    if device == "cpu" and backend is Backend.TENSORRT:
        raise ModelError("device cpu does not go with backend tensorrt, expected auto, cuda or cuda:NUMBER")
    if device.startswith("cuda") and backend not in (*_WITH_CUDA, Backend.AUTO):
        raise ModelError(f"device {device} does not go with backend {backend.value}, expected auto or cpu")


def gpu_number(device: str) -> int | None:
    """The GPU that a device (auto, cpu, cuda, cuda:NUMBER) names, None if it names none; raises ModelError."""
    if device in ("auto", "cpu"):
        return None
    kind, _, number = device.partition(":")
    if kind != "cuda" or (device != "cuda" and not number.isdecimal()):
        raise ModelError(f"device {device!r} is unknown, expected auto, cpu, cuda or cuda:NUMBER")
    return int(number or 0)
