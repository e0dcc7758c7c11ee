# SPDX-License-Identifier: Apache-2.0
"""Settings of the refiner that a user decides."""

from __future__ import annotations

from pydantic import Field, model_validator

from ..configuration import Config
from ..errors import ModelError
from ..inference import Backend, Precision, check_choice


class RefinerConfig(Config):
    """Which networks the `Refiner` matches with, where they run, and how much time a tracked image may take."""

    model: str = Field(
        "flow", description="networks that match images with the map: the name of a shipped model, or the path PREFIX "
        "of PREFIX_image.onnx, PREFIX_map.onnx, PREFIX_coarse.onnx and PREFIX_fine.onnx",
    )  # fmt: skip
    threads: int = Field(
        0, ge=0, le=64, description="CPU threads that the networks use; 0: one for each core that the process may use, "
        "at most 4 [threads]",
    )  # fmt: skip
    backend: Backend = Field(
        Backend.AUTO, description="library that runs the networks: onnxruntime, tensorrt, openvino or torch; auto: "
        "tensorrt where it finds a GPU, else onnxruntime",
    )  # fmt: skip
    precision: Precision = Field(
        Precision.AUTO, description="number format of the networks, smaller ones are faster: fp32; fp16 (tensorrt, "
        "onnxruntime); bf16 (openvino); int8 (onnxruntime or openvino, on a CPU); auto: int8 on a CPU with onnxruntime "
        "or openvino if the model has it, else fp32",
    )  # fmt: skip
    device: str = Field(
        "auto", description="processor that runs the networks: cpu, cuda or cuda:NUMBER; auto: a GPU where the backend "
        "finds one, else the CPU",
    )  # fmt: skip
    max_iterations: int = Field(
        3, ge=1, le=8, description="most iterations of pose refinement for a tracked image, fewer where the pose "
        "converges earlier; each adds the same time to the latency [iterations]",
    )  # fmt: skip

    @model_validator(mode="after")
    def _backend_precision_and_device_go_together(self) -> RefinerConfig:
        try:
            check_choice(self.backend, self.precision, self.device)
        except ModelError as error:
            raise ValueError(str(error)) from None
        return self
