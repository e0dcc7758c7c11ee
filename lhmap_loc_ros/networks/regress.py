# SPDX-License-Identifier: Apache-2.0
"""The reference method's online network: image and projected map in, the correction of the pose out, in one step.

After LHMap-loc (arXiv 2403.05002), section "online pose network", from the description in the paper. It has no
covariance and no map point gets a place in the image: what the tracker's own network is measured against.

Where the description leaves a choice, the reading here is the one that meets its 14.4 M parameters and 13.1
multiply-adds (10^9) at 384x1280, and otherwise:

- convolutions have a bias and no normalisation, and every one is followed by the LeakyReLU, the last of the attention
  too; only those that predict a flow are linear, and so are the deconvolutions;
- the flow is in units of 20 pixels of the input, which is what the factor 0.625 = 20 / 32 at level 5 says. Nothing
  supervises it but the pose.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .flow import window_cost

WIDTHS = (8, 16, 32, 64, 96, 128, 196)
"""Feature channels of the levels 0 to 6."""
DECODER = (128, 128, 96, 64, 32)
"""Outputs of a dense decoder's convolutions."""
RADIUS = 4
"""The correlations look this many cells far in each direction."""
WIDE = 128
"""From this many columns on, products of shifts cost less than products of whole rows."""
FLOW_UNIT = 20.0
"""Pixels of the input that a predicted flow of one means."""


def scaled(channels: Sequence[int], scale: float) -> tuple[int, ...]:
    """Numbers of channels times a factor, at least 2 each."""
    return tuple(max(2, round(c * scale)) for c in channels)


def correlation(image: torch.Tensor, other: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over the feature channels of the product with every shift, (B, (2 radius + 1)^2, h, w), rows first.

    The channel of the shift (dv, du) compares `image` (B, C, h, w) at (v, u) with `other` at (v + dv, u + du),
    which is zero outside.
    """
    h, w = image.shape[-2:]
    if w < WIDE:
        return window_cost(image, other, radius) / image.shape[1]
    padded, steps = F.pad(other, (radius,) * 4), range(2 * radius + 1)
    return torch.stack([(image * padded[:, :, dv : dv + h, du : du + w]).mean(1) for dv in steps for du in steps], 1)


def warp(features: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """At each cell what `features` (B, C, h, w) hold `flow` (B, 2, h, w) cells further (u, v), zero outside.

    Bilinear, in single precision: coordinates do not bear less. Cell centres are at whole numbers for the grid and
    for its sampling alike, so that a flow of zero changes nothing.
    """
    h, w = features.shape[-2:]
    flow = flow.float()
    columns = torch.arange(w, dtype=flow.dtype, device=flow.device)
    rows = torch.arange(h, dtype=flow.dtype, device=flow.device).view(-1, 1)
    u = (columns + flow[:, 0]) * (2.0 / max(w - 1, 1)) - 1
    v = (rows + flow[:, 1]) * (2.0 / max(h - 1, 1)) - 1
    return F.grid_sample(features.float(), torch.stack([u, v], 3), "bilinear", "zeros", align_corners=True)


def conv(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution and LeakyReLU."""
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1), nn.LeakyReLU(0.1))


def deconv(cin: int, cout: int, factor: int = 2) -> nn.ConvTranspose2d:
    """A linear deconvolution to `factor` times the size, its kernel twice as wide."""
    return nn.ConvTranspose2d(cin, cout, 2 * factor, factor, factor // 2)


def initialise(net: nn.Module) -> None:
    """Weights under which features keep their size through layers that nothing normalises.

    Depth comes in hundreds of metres, all of it near zero: its first weights are ten times larger.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=0.1)
            nn.init.zeros_(module.bias)
            if isinstance(module, nn.Conv2d) and module.in_channels == 1:
                module.weight.data *= 10
        elif isinstance(module, nn.ConvTranspose2d):
            # each output cell meets (kernel / stride)^2 = 4 cells of every input channel
            nn.init.normal_(module.weight, std=(4 * module.in_channels) ** -0.5)
            nn.init.zeros_(module.bias)
    for module in net.modules():
        if isinstance(module, PoseHead):
            module.start_at_identity()


class Pyramid(nn.Module):
    """Levels of half the size each: a convolution of stride 2 and two more; level 0, if any, keeps the size."""

    def __init__(self, cin: int, widths: Sequence[int], first: int):
        """`widths` are the channels of the levels `first` (0 or 1) and up."""
        super().__init__()
        levels = []
        for level, width in enumerate(widths, first):
            levels.append(nn.Sequential(conv(cin, width, 2 if level else 1), conv(width, width), conv(width, width)))
            cin = width
        self.levels = nn.ModuleList(levels)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        out = []
        for level in self.levels:
            x = level(x)
            out.append(x)
        return out


class DenseDecoder(nn.Module):
    """Convolutions whose outputs are each concatenated to their own input; `out_channels` come out."""

    def __init__(self, cin: int, widths: Sequence[int]):
        super().__init__()
        self.convs = nn.ModuleList()
        for width in widths:
            self.convs.append(conv(cin, width))
            cin += width
        self.out_channels = cin

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.convs:
            x = torch.cat([layer(x), x], 1)
        return x


class Attention(nn.Module):
    """Where to look, from the map alone: weights (B, channels, H/16, W/16) that sum to 1 over the grid."""

    def __init__(self, widths: Sequence[int], scale: float):
        super().__init__()
        w4, w5, w6 = widths[-3:]
        a5, a4, a, out = scaled((128, 96, 256, 512), scale)
        self.up6, self.mix5 = deconv(w6, a5), conv(a5 + w5, a5)
        self.up5, self.mix4 = deconv(a5, a4), nn.Sequential(conv(a4 + w4, a), conv(a, out))

    def forward(self, map4: torch.Tensor, map5: torch.Tensor, map6: torch.Tensor) -> torch.Tensor:
        x5 = self.mix5(torch.cat([self.up6(map6), map5], 1))
        x4 = self.mix4(torch.cat([self.up5(x5), map4], 1))
        return x4.float().flatten(2).softmax(2).view_as(x4)


class PoseHead(nn.Module):
    """From a vector (B, cin) to a translation (B, 3) [m] and a unit quaternion (B, 4), x, y, z, w.

    One common layer, then a branch each. In single precision: metres in bfloat16 are centimetres off.
    """

    def __init__(self, cin: int, widths: Sequence[int]):
        super().__init__()
        self.common = nn.Linear(cin, widths[0])
        self.to_translation, self.to_rotation = (nn.Linear(widths[0], widths[1]) for _ in range(2))
        self.translation, self.rotation = nn.Linear(widths[1], 3), nn.Linear(widths[1], 4)

    def start_at_identity(self) -> None:
        """An untrained head says that nothing has to move."""
        for layer in (self.translation, self.rotation):
            nn.init.normal_(layer.weight, std=0.01)
        with torch.no_grad():
            self.rotation.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0]))

    def forward(self, x: torch.Tensor):
        with torch.autocast(x.device.type, enabled=False):
            x = F.leaky_relu(self.common(x.float()), 0.1)
            translation = self.translation(F.leaky_relu(self.to_translation(x), 0.1))
            rotation = self.rotation(F.leaky_relu(self.to_rotation(x), 0.1))
            return translation, F.normalize(rotation, dim=1)


class RegressNet(nn.Module):
    """The online pose network.

    Inputs: image (B, 3, H, W), RGB, ImageNet-normalised; depth (B, 1, H, W) [100 m] of the map seen from the start
    pose, zero where no point projects. H and W are multiples of 64.

    Outputs: translation (B, 3) [m] and unit quaternion (B, 4), x, y, z, w, of T_start_true, the pose of the camera
    that took the image in the frame of the start camera: T_map_true = T_map_start T_start_true.

    `scale` multiplies all numbers of channels (a small network for tests).
    """

    def __init__(self, scale: float | Sequence[float] = 1.0):
        super().__init__()
        scale = float(scale[0] if isinstance(scale, Sequence) else scale)
        self.settings = {"scale": [scale]}
        widths, decoder = scaled(WIDTHS, scale), scaled(DECODER, scale)
        features, *head = scaled((512, 512, 256), scale)
        cost = (2 * RADIUS + 1) ** 2
        self.image_pyramid = Pyramid(3, widths, 0)
        self.map_pyramid = Pyramid(1, widths[1:], 1)
        self.attention = Attention(widths, scale)
        self.decoder6 = DenseDecoder(cost, decoder)
        self.flow6 = nn.Conv2d(self.decoder6.out_channels, 2, 3, 1, 1)
        self.up_flow, self.up_features = deconv(2, 2), deconv(self.decoder6.out_channels, 2)
        self.decoder5 = DenseDecoder(cost + widths[5] + 4, decoder)
        self.up5 = deconv(self.decoder5.out_channels, features)
        self.head = PoseHead(features, head)
        initialise(self)

    def forward(self, image: torch.Tensor, depth: torch.Tensor):
        # 1. both sides
        *_, image5, image6 = self.image_pyramid(image)
        *_, map4, map5, map6 = self.map_pyramid(depth)
        # 2. where they differ, at 1/64 and, once that is undone, at 1/32
        x = self.decoder6(correlation(image6, map6, RADIUS))
        flow, context = self.up_flow(self.flow6(x)), self.up_features(x)
        cost = correlation(image5, warp(map5, flow * (FLOW_UNIT / 32)), RADIUS)
        x = self.decoder5(torch.cat([cost, image5, flow, context], 1))
        # 3. one vector of it, weighted by what the map says is worth a look
        features = self.up5(x).float() * self.attention(map4, map5, map6)
        return self.head(features.sum((2, 3)))
