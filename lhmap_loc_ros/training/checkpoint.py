# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: weights and optimiser state in one safetensors file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from ..errors import InputError
from ..lhmap.atomic import replacing


def save_checkpoint(path: Path, net: nn.Module, optimizer, step: int, metadata: dict[str, str] | None = None) -> None:
    """Weights and optimiser state in one safetensors file, replaced at once; `metadata` is added to its own.

    Raises InputError where it cannot be written.
    """
    tensors = {f"net.{k}": v.contiguous() for k, v in net.state_dict().items()}
    for k, state in (optimizer.state_dict()["state"] if optimizer else {}).items():
        tensors |= {f"opt.{k}.{n}": torch.as_tensor(v).contiguous() for n, v in state.items()}
    told = {**(metadata or {}), "step": str(step), "settings": json.dumps(net.settings)}
    with replacing(path) as file:
        file.write(save(tensors, told))


def read_metadata(path: Path) -> dict[str, str]:
    """What a checkpoint says about itself; raises InputError if it is none."""
    try:
        with safe_open(path, "pt") as f:
            return f.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is not a checkpoint: {error}") from error


def load_checkpoint(path: Path, network, optimizer=None) -> tuple[nn.Module, int]:
    """The network and the step of a checkpoint; `network` is the module to fill, or its class.

    Fills the optimiser's state too, if one is given. Raises InputError.
    """
    metadata = read_metadata(path)
    try:
        tensors = load_file(path)
        settings, step = json.loads(metadata["settings"]), int(metadata["step"])
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path} is not a checkpoint: {error}") from error
    net = network if isinstance(network, nn.Module) else network(**{k: tuple(v) for k, v in settings.items()})
    try:
        net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
    except RuntimeError as error:
        raise InputError(f"{path} does not fit a {type(net).__name__}: {str(error).splitlines()[0]}") from error
    if optimizer is not None:
        state: dict[int, dict] = {}
        for k, v in tensors.items():
            if k.startswith("opt."):
                _, number, name = k.split(".", 2)
                state.setdefault(int(number), {})[name] = v
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return net, step


def sha256_of(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
