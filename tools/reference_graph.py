#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the graph of the reference method's network that `lhmap bench latency` times.

    tools/reference_graph.py [lhmap_loc_ros/bench/reference_384x1280.onnx]

How long a network takes does not depend on what it learned: every weight is one number, laid out to the full tensor
when the file is loaded. So the network of 14.4 million parameters is a file of some hundred kilobytes.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from lhmap_loc_ros.bench.latency_worker import REFERENCE
from lhmap_loc_ros.lhmap.atomic import replacing
from lhmap_loc_ros.networks.regress import RegressNet
from lhmap_loc_ros.training.export import export_regress

HEIGHT, WIDTH = 384, 1280
LARGE = 64
"""Vectors, and tensors of fewer values, stay as they are."""


def lay_out_at_load(model: onnx.ModelProto) -> None:
    """Replaces every large tensor of weights by one number and a node that expands it."""
    graph, nodes, kept = model.graph, [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind != "f" or values.ndim < 2 or values.size < LARGE:
            kept.append(tensor)
            continue
        # each output the mean of its inputs: no overflow, and none of the tiny numbers that are slow
        number = np.full((1,), 1 / np.prod(values.shape[1:]), values.dtype)
        shape = np.array(values.shape, np.int64)
        inputs = [f"{tensor.name}.value", f"{tensor.name}.shape"]
        kept += [numpy_helper.from_array(x, name) for x, name in zip((number, shape), inputs, strict=True)]
        nodes.append(helper.make_node("Expand", inputs, [tensor.name]))
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=REFERENCE)
    out = parser.parse_args().out
    torch.manual_seed(0)
    net = RegressNet()
    parameters = sum(p.numel() for p in net.parameters())
    metadata = {"method": "regress", "parameters": parameters, "weights": "one number each"}
    with TemporaryDirectory() as folder:
        whole = Path(folder) / "reference.onnx"
        export_regress(net, whole, WIDTH, HEIGHT, metadata)
        model = onnx.load(whole)
    lay_out_at_load(model)
    with replacing(out) as file:
        onnx.save(model, file)
    print(f"{out}: {parameters} parameters, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
