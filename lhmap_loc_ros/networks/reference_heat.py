# SPDX-License-Identifier: Apache-2.0
"""The reference method's offline network: which map points lead the online network to the pose?

After LHMap-loc (arXiv 2403.05002), section "offline heat network", from the description in the paper. The heat branch
sees the map alone; what trains it are two poses. Stage 1 reads the pose from an embedding of image and map, weighted
by the heat; stage 2 lets the online network find it with nothing but the hottest points.

Where the description leaves a choice: the pyramids and the decoders are those of the online network, the decoder at
full size, which would cost more than all the rest, two convolutions of 64 instead; what predicts a flow does so as
there, brought to the next finer level by a deconvolution of factor 4; stage 1 ends in the online network's kind of
head, 512 and 256 wide.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .heat import FULL_SCALE_OF_MEAN
from .regress import (
    DECODER,
    FLOW_UNIT,
    RADIUS,
    WIDTHS,
    DenseDecoder,
    PoseHead,
    Pyramid,
    RegressNet,
    conv,
    correlation,
    deconv,
    initialise,
    scaled,
    warp,
)

EMBEDDING = 64
"""Channels of the heat and of the embedding it weighs."""
RADIUS_FULL = 3
"""The correlation at full size looks this many pixels far."""


def depth_of_view(view: torch.Tensor) -> torch.Tensor:
    """Depth (B, 1, H, W) [100 m], zero where no point projects, of the map view of `localization.features`."""
    return (4.0 / view[:, :1].clamp(min=1e-3) - 3.0) * (view[:, 1:2] / 100)


class HeatBranch(nn.Module):
    """Depth (B, 1, H, W) to logits (B, 64, H, W): levels 0 to 3 and back, each level joined on the way."""

    def __init__(self, scale: float):
        super().__init__()
        widths = scaled(WIDTHS[:4], scale)
        (out,) = scaled((EMBEDDING,), scale)
        self.pyramid = Pyramid(1, widths, 0)
        self.up = nn.ModuleList(deconv(c, out) for c in (widths[3], out, out))
        self.mix = nn.ModuleList(conv(out + c, out) for c in widths[2::-1])
        self.logits = nn.Conv2d(out, out, 3, 1, 1)

    def forward(self, depth: torch.Tensor) -> torch.Tensor:
        *finer, x = self.pyramid(depth)
        for up, mix, skip in zip(self.up, self.mix, reversed(finer), strict=True):
            x = mix(torch.cat([up(x), skip], 1))
        return self.logits(x)


class RoughPose(nn.Module):
    """Stage 1: image and map at the rough pose, compared at 1/16, 1/4 and full size, weighed by the heat."""

    def __init__(self, scale: float):
        super().__init__()
        widths, decoder = scaled(WIDTHS[:5], scale), scaled(DECODER, scale)
        embedding, *head = scaled((EMBEDDING, 512, 256), scale)
        cost, full = (2 * RADIUS + 1) ** 2, (2 * RADIUS_FULL + 1) ** 2
        self.image_pyramid, self.map_pyramid = Pyramid(3, widths, 0), Pyramid(1, widths, 0)
        self.decoder4 = DenseDecoder(cost, decoder)
        self.decoder2 = DenseDecoder(cost + widths[2] + 4, decoder)
        coarse, fine = self.decoder4.out_channels, self.decoder2.out_channels
        self.flow4, self.flow2 = nn.Conv2d(coarse, 2, 3, 1, 1), nn.Conv2d(fine, 2, 3, 1, 1)
        self.up_flow4, self.up_flow2 = deconv(2, 2, 4), deconv(2, 2, 4)
        self.up_features4, self.up_features2 = deconv(coarse, 2, 4), deconv(fine, 2, 4)
        self.embed = nn.Sequential(conv(full + widths[0] + 4, embedding), conv(embedding, embedding))
        self.head = PoseHead(embedding, head)

    def forward(self, image: torch.Tensor, depth: torch.Tensor, heat: torch.Tensor):
        image0, _, image2, _, image4 = self.image_pyramid(image)
        map0, _, map2, _, map4 = self.map_pyramid(depth)
        x = self.decoder4(correlation(image4, map4, RADIUS))
        flow, context = self.up_flow4(self.flow4(x)), self.up_features4(x)
        cost = correlation(image2, warp(map2, flow * (FLOW_UNIT / 4)), RADIUS)
        x = self.decoder2(torch.cat([cost, image2, flow, context], 1))
        flow, context = self.up_flow2(self.flow2(x)), self.up_features2(x)
        cost = correlation(image0, warp(map0, flow * FLOW_UNIT), RADIUS_FULL)
        embedding = self.embed(torch.cat([cost, image0, flow, context], 1))
        return self.head((embedding.float() * heat).sum((2, 3)))


class ReferenceHeatNet(nn.Module):
    """Heat branch, stage 1 and the online network of stage 2.

    All depths are (B, 1, H, W) [100 m], zero where no point projects; poses are those of `RegressNet`. The heat
    alone asks for H and W in multiples of 8, stage 1 of 16, the online network of 64. `scale` multiplies all numbers
    of channels (a small network for tests).
    """

    full_scale = FULL_SCALE_OF_MEAN
    """The value at which the heat of maps is full; one is the mean."""

    def __init__(self, scale: float | Sequence[float] = 1.0):
        super().__init__()
        scale = float(scale[0] if isinstance(scale, Sequence) else scale)
        self.settings = {"scale": [scale]}
        self.branch, self.rough, self.online = HeatBranch(scale), RoughPose(scale), RegressNet(scale)
        initialise(self.branch)
        initialise(self.rough)

    def heat_channels(self, depth: torch.Tensor) -> torch.Tensor:
        """Heat per channel (B, 64, H, W): each channel sums to 1 over the pixels."""
        logits = self.branch(depth).float()
        return logits.flatten(2).softmax(2).view_as(logits)

    def forward(self, depth: torch.Tensor) -> torch.Tensor:
        """Heat (B, 1, H, W), zero where no point projects, of a depth view alone.

        The sum over the channels in units of its mean over the pixels: what is above 1 counts for more than most.
        """
        return total_heat(self.heat_channels(depth), depth)

    def of_view(self, view: torch.Tensor) -> torch.Tensor:
        """`forward` for the map view (B, MAP_CHANNELS, H, W) that the map builder draws."""
        return self(depth_of_view(view))


def total_heat(channels: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """The heat (B, 1, H, W) of a view from its channels; `ReferenceHeatNet.forward` says in which units."""
    _, count, h, w = channels.shape
    return channels.sum(1, keepdim=True) * (h * w / count) * (depth > 0)


def hottest(heat: torch.Tensor, count: int) -> torch.Tensor:
    """Where (B, 1, H, W) bool the `count` hottest points are; all that have a heat, where there are fewer."""
    flat = heat.flatten(1)
    places = flat.topk(min(count, flat.shape[1]), 1).indices
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter(1, places, True)
    return (chosen & (flat > 0)).view_as(heat)
