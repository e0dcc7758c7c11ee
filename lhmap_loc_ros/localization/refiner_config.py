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
        "flow",
        description="networks that match images with the map: a name among the shipped ones, or the path PREFIX of "
        "PREFIX_image.onnx, PREFIX_map.onnx, PREFIX_coarse.onnx and PREFIX_fine.onnx",
    )
    threads: int = Field(
        0, ge=0, le=64, description="CPU threads of the networks; 0: one for each core, at most 4 [threads]"
    )
    backend: Backend = Field(
        Backend.AUTO,
        description="what runs the networks: onnxruntime, tensorrt, openvino or torch; auto: TensorRT where there is a "
        "GPU for it, else ONNX Runtime",
    )
    precision: Precision = Field(
        Precision.AUTO,
        description="number format of the networks' convolutions: fp32; fp16 (tensorrt, onnxruntime); bf16 (openvino); "
        "int8 (onnxruntime and openvino, on a CPU); auto: int8 where it goes and the networks have such files, "
        "else fp32",
    )
    device: str = Field(
        "auto", description="what the networks run on: cpu, cuda, cuda:NUMBER; auto: a GPU where the backend finds one"
    )
    max_iterations: int = Field(
        3, ge=1, le=8,
        description="most times that a tracked image is matched with the map, fewer once the pose converges: the "
        "limit of the time that it takes [iterations]",
    )  # fmt: skip

    @model_validator(mode="after")
    def _backend_precision_and_device_go_together(self):
        try:
            check_choice(self.backend, self.precision, self.device)
        except ModelError as error:
            raise ValueError(str(error)) from None
        return self
