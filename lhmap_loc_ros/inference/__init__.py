# SPDX-License-Identifier: Apache-2.0
"""Networks behind one interface: `load_model(name).run({input: array}) -> {output: array}`."""

from .models import find_model, models_dir
from .onnx_backend import Model, load_model

__all__ = ["Model", "find_model", "load_model", "models_dir"]
