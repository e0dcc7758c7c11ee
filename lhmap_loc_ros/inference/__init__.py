# SPDX-License-Identifier: Apache-2.0
"""Networks behind one interface: `load_model(name).run({input: array}) -> {output: array}`."""

from .choice import WITH_TENSORS, Backend, Precision, check_choice
from .loading import load_model
from .model import Model, State
from .models import find_model, models_dir

__all__ = [
    "WITH_TENSORS", "Backend", "Model", "Precision", "State", "check_choice", "find_model", "load_model", "models_dir",
]  # fmt: skip
