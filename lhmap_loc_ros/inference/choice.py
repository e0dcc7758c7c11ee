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

    AUTO = "auto"
    """int8 in ONNX Runtime or OpenVINO on a CPU where the network has such a file, else fp32."""
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    """The file of the network for it, see `models.int8_file`."""


PRECISIONS = {
    Backend.AUTO: (Precision.AUTO, Precision.FP32, Precision.FP16),
    Backend.ONNXRUNTIME: (Precision.AUTO, Precision.FP32, Precision.FP16, Precision.INT8),
    Backend.TENSORRT: (Precision.AUTO, Precision.FP32, Precision.FP16),
    Backend.OPENVINO: (Precision.AUTO, Precision.FP32, Precision.BF16, Precision.INT8),
    Backend.TORCH: (Precision.AUTO, Precision.FP32),
}
WITH_INT8 = (Backend.ONNXRUNTIME, Backend.OPENVINO)
"""What computes int8 files, on a CPU."""
WITH_TENSORS = (Backend.TORCH, Backend.TENSORRT, Backend.AUTO)
"""What may take PyTorch's tensors where they are, see `Model.run_on_device`."""
_WITH_CUDA = (Backend.ONNXRUNTIME, Backend.TENSORRT, Backend.TORCH)


def check_choice(backend: Backend, precision: Precision, device: str) -> None:
    """Raises ModelError for a precision or a device that the backend does not have."""
    if precision not in PRECISIONS[backend]:
        *others, last = (p.value for p in PRECISIONS[backend])
        known = f"{', '.join(others)} or {last}"
        raise ModelError(f"precision {precision.value} does not go with backend {backend.value}, expected {known}")
    gpu = gpu_number(device)
    if precision is Precision.INT8 and gpu is not None:
        raise ModelError(f"precision int8 does not go with device {device}, expected auto or cpu")
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
