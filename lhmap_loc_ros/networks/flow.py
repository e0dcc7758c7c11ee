# SPDX-License-Identifier: Apache-2.0
"""The flow network: where in the image does each projected map point lie, and how sure is that?

Two encoders without shared weights bring image and projected map into one feature space. The coarse head
compares every map cell of 8 pixels with every image cell; the fine head compares cells of 4 pixels within a
window around the present pose. Both end in a displacement in pixels and the scale of a Laplace
distribution per axis.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ..localization.features import MAP_CHANNELS

COARSE, FINE = 8, 4
"""Cell sizes in pixels."""
WINDOW = 4
"""The fine head looks this many cells far in each direction."""
CONTEXT4 = 32
"""Channels of the fine head's context."""
SPAN = 38
"""Map cells of a row that are compared with image cells at once, all with all."""
LOG_SCALE_RANGE = (-3.0, 4.0)
"""Bounds of the natural logarithm of a Laplace scale in pixels."""


def _conv(cin: int, cout: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, stride, dilation, dilation, bias=False), nn.BatchNorm2d(cout), nn.LeakyReLU(0.1)
    )


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, channels: int, dilation: int = 1):
        super().__init__()
        self.body = nn.Sequential(_conv(channels, channels, dilation=dilation), _conv(channels, channels))

    def forward(self, x):
        return x + self.body(x)


def local_contrast(grey: torch.Tensor, valid: torch.Tensor | None = None, window: int = 15) -> torch.Tensor:
    """Grey values (B, 1, H, W) minus the local mean, over the local deviation; means over valid pixels only."""

    def mean(x):
        # two one-dimensional means equal the square one, borders included, and cost far less
        x = F.avg_pool2d(x, (1, window), 1, (0, window // 2), count_include_pad=False)
        return F.avg_pool2d(x, (window, 1), 1, (window // 2, 0), count_include_pad=False)

    if valid is None:
        centre = mean(grey)
        deviation = (mean((grey - centre) ** 2) + 1e-4).sqrt()
        return (grey - centre) / deviation
    share = mean(valid) + 1e-3
    centre = mean(grey * valid) / share
    residual = (grey - centre) * valid
    deviation = (mean(residual**2) / share + 1e-4).sqrt()
    return residual / deviation


class SharedStem(nn.Module):
    """One small encoder for both sides: brightness of the image, intensity of the map, each locally normalised.

    What is bright for the camera is often bright for the LiDAR. Weights that see both start matching at
    once, where two separate encoders first learn for hours what is usual.
    """

    def __init__(self, width: int, dims: tuple[int, int]):
        super().__init__()
        self.to4 = nn.Sequential(_conv(2, width, 2), _conv(width, width, 2))
        self.to8 = nn.Sequential(_conv(width, width, 2), _conv(width, width))
        self.out8, self.out4 = nn.Conv2d(width, dims[0], 1), nn.Conv2d(width, dims[1], 1)

    def forward(self, contrast):
        """Features (B, width, H/4, W/4), and what both descriptors get from them at 1/8 and 1/4."""
        # differences to the next pixel: edges, wherever the mean lies
        du = F.pad(contrast[..., 1:] - contrast[..., :-1], (0, 1))
        dv = F.pad(contrast[..., 1:, :] - contrast[..., :-1, :], (0, 0, 0, 1))
        x4 = self.to4(torch.cat([contrast, (du.abs() + dv.abs()) * 0.5], 1))
        return x4, self.out8(self.to8(x4)), self.out4(x4)


class Encoder(nn.Module):
    """Features at 1/8 (for matching everywhere) and 1/4 (for matching nearby), each of unit length."""

    def __init__(self, cin: int, widths: tuple[int, int, int, int], dims: tuple[int, int], stem: int):
        super().__init__()
        w2, w4, w8, w16 = widths
        self.to2 = nn.Sequential(_conv(cin, w2, 2), _conv(w2, w2))
        self.join = nn.Conv2d(stem, w4, 1)
        self.to4 = nn.Sequential(_conv(w2, w4, 2), Residual(w4))
        self.to8 = nn.Sequential(_conv(w4, w8, 2), Residual(w8))
        self.to16 = nn.Sequential(_conv(w8, w16, 2), Residual(w16), Residual(w16, 2))
        self.from16 = nn.Conv2d(w16, w8, 1)
        self.mix8 = Residual(w8)
        self.from8 = nn.Conv2d(w8, w4, 1)
        self.mix4 = Residual(w4)
        self.out8 = nn.Conv2d(w8, dims[0], 1)
        self.out4 = nn.Conv2d(w4, dims[1], 1)

    def forward(self, x, stem):
        common4, direct8, direct4 = stem
        x4 = self.to4(self.to2(x)) + self.join(common4)
        x8 = self.to8(x4)
        x16 = self.to16(x8)
        x8 = self.mix8(x8 + F.interpolate(self.from16(x16), scale_factor=2.0, mode="nearest"))
        x4 = self.mix4(x4 + F.interpolate(self.from8(x8), scale_factor=2.0, mode="nearest"))
        return F.normalize(self.out8(x8) + direct8, dim=1), F.normalize(self.out4(x4) + direct4, dim=1), x8, x4


def _bounded_log_scale(raw: torch.Tensor) -> torch.Tensor:
    low, high = LOG_SCALE_RANGE
    return low + (high - low) * torch.sigmoid(raw)


class MapFeatures(NamedTuple):
    """What the heads need of a map view."""

    map8: torch.Tensor
    """(B, D8, H/8, W/8) descriptors."""
    context8: torch.Tensor
    """(B, C8 + 1, H/8, W/8) what the coarse head sees besides; last the share of valid pixels."""
    map4: torch.Tensor
    """(B, D4, H/4, W/4) descriptors."""
    context4: torch.Tensor
    """(B, CONTEXT4, H/4, W/4) what the fine head sees besides."""


class FlowNet(nn.Module):
    """The whole network; `image`, `map`, `coarse` and `fine` are exported as four ONNX files.

    Inputs: image (B, 3, H, W) RGB in [0, 1]; map view (B, MAP_CHANNELS, H, W) of
    `localization.features.render_map`. H and W are multiples of 16.
    """

    def __init__(self, widths=(24, 48, 96, 128), dims=(96, 48), stem=(24,)):
        super().__init__()
        self.settings = {"widths": list(widths), "dims": list(dims), "stem": list(stem)}
        self.stem = SharedStem(stem[0], dims)
        self.image_encoder = Encoder(5, widths, dims, stem[0])
        self.map_encoder = Encoder(MAP_CHANNELS + 1, widths, dims, stem[0])
        self.log_temperature = nn.Parameter(torch.tensor([2.7, 2.7]))
        self.coarse_head = nn.Sequential(_conv(widths[2] + 5, 64), _conv(64, 48), nn.Conv2d(48, 4, 3, 1, 1))
        cost = (2 * WINDOW + 1) ** 2
        self.fine_context = nn.Conv2d(widths[1], CONTEXT4, 1)
        self.fine_head = nn.Sequential(
            _conv(cost + CONTEXT4 + 2, 80), _conv(80, 64), _conv(64, 48, dilation=2), nn.Conv2d(48, 4, 3, 1, 1)
        )

    def image(self, rgb: torch.Tensor):
        """Image features (B, D8, H/8, W/8) and (B, D4, H/4, W/4)."""
        grey = rgb.mean(dim=1, keepdim=True)
        contrast = local_contrast(grey)
        fine_contrast = local_contrast(grey, window=5)
        x = torch.cat([(rgb - 0.45) * 3, contrast, fine_contrast], 1)
        f8, f4, _, _ = self.image_encoder(x, self.stem(contrast))
        return f8, f4

    def map(self, view: torch.Tensor) -> MapFeatures:
        """What both heads need of a map view."""
        contrast = local_contrast(view[:, 2:3], view[:, 1:2])
        map8, map4, x8, x4 = self.map_encoder(torch.cat([view, contrast], 1), self.stem(contrast))
        return MapFeatures(map8, torch.cat([x8, view_share(view, COARSE)], 1), map4, self.fine_context(x4))

    def pad_heads(self, multiple: int = 16) -> None:
        """Gives the heads' inputs zero channels up to a multiple, for export: runtimes compute blocks of channels.

        The results are the same; ONNX Runtime takes half the time for these layers.
        """
        for head in (self.coarse_head, self.fine_head):
            conv = head[0][0]
            missing = -conv.in_channels % multiple
            conv.weight = nn.Parameter(F.pad(conv.weight.detach(), (0, 0, 0, 0, 0, missing)))
            conv.in_channels += missing

    def similarity(self, map8: torch.Tensor, image8: torch.Tensor) -> torch.Tensor:
        """Scaled cosine similarity (B, map cells, image cells)."""
        scale = self.log_temperature[0].exp()
        return torch.bmm(map8.flatten(2).transpose(1, 2), image8.flatten(2)) * scale

    def coarse(self, map8: torch.Tensor, context8: torch.Tensor, image8: torch.Tensor):
        """Displacement (B, 2, H/8, W/8) [pixels] and log scale (B, 2, H/8, W/8) of every map cell."""
        return self.coarse_of(context8, self.similarity(map8, image8))

    def coarse_of(self, context8: torch.Tensor, similarity: torch.Tensor):
        """`coarse` of a similarity (B, map cells, image cells)."""
        flow, mass, best = _expected_flow(similarity.float(), context8.shape[-2], context8.shape[-1])
        x8, share = context8[:, :-1], context8[:, -1:]
        out = self.coarse_head(_joined([x8, flow / 8, mass, best, share], self.coarse_head))
        return flow + out[:, :2], _bounded_log_scale(out[:, 2:])

    def fine(self, map4: torch.Tensor, context4: torch.Tensor, image4: torch.Tensor):
        """Displacement (B, 2, H/4, W/4) [pixels] and log scale (B, 2, H/4, W/4) of every map cell."""
        return self.fine_of(context4, self.fine_cost(map4, image4))

    def fine_matches(self, rgb: torch.Tensor, view: torch.Tensor):
        """`fine` of an image and a map view as they come."""
        encoded = self.map(view)
        return self.fine(encoded.map4, encoded.context4, self.image(rgb)[1])

    def fine_cost(self, map4: torch.Tensor, image4: torch.Tensor) -> torch.Tensor:
        """Scaled cosine similarity (B, window cells, H/4, W/4)."""
        return window_cost(map4, image4, WINDOW) * self.log_temperature[1].exp()

    def fine_of(self, context4: torch.Tensor, cost: torch.Tensor):
        """`fine` of a window cost."""
        # window cells last, as they come from `window_cost`: a softmax across planes is far slower
        probability = torch.softmax(cost.permute(0, 2, 3, 1), dim=3)
        expected = _matmul32(probability, _window_offsets(WINDOW, probability)).permute(0, 3, 1, 2) * FINE
        out = self.fine_head(_joined([cost * 0.1, context4, expected / FINE], self.fine_head))
        return expected + FINE * out[:, :2], _bounded_log_scale(out[:, 2:])


def _joined(parts: list[torch.Tensor], head: nn.Sequential) -> torch.Tensor:
    """Tensors one behind the other, and zero channels behind them where the head takes more, see `pad_heads`."""
    b, _, h, w = parts[0].shape
    missing = head[0][0].in_channels - sum(part.shape[1] for part in parts)
    return torch.cat([*parts, parts[0].new_zeros(b, missing, h, w)], 1)


def view_share(view: torch.Tensor, cell: int) -> torch.Tensor:
    """Share of valid pixels of each cell (B, 1, H/cell, W/cell)."""
    return F.avg_pool2d(view[:, 1:2], cell)


def window_cost(map4: torch.Tensor, image4: torch.Tensor, radius: int) -> torch.Tensor:
    """Cosine similarity of each map cell with the image cells around it (B, (2r+1)^2, h, w), rows first."""
    if torch.is_grad_enabled():
        return _BandedCost.apply(map4, image4, radius)
    b, c, h, w = map4.shape
    wide = SPAN + 2 * radius
    # Rows are cut into spans, since of the products of whole rows few are wanted. Column x of a span of the map meets
    # columns x .. x + 2r of a wider one of the padded image: a diagonal band. Had the map one column more than the
    # image, their products would fill rows one element longer, in which the band stands upright: only products,
    # reshapes and slices, which every runtime has.
    missing = -w % SPAN
    padded = F.pad(image4, (radius, radius + missing, radius, radius)).permute(0, 2, 3, 1)
    rows = padded.shape[1]
    own = padded[:, :, : w + missing].reshape(b, rows, -1, SPAN, c)
    # a span needs as many columns more as the next one begins with
    after = F.pad(padded[:, :, SPAN:], (0, 0, 0, SPAN - 2 * radius)).reshape(b, rows, -1, SPAN, c)
    spans = torch.cat([own, after[:, :, :, : 2 * radius]], 3).transpose(3, 4)
    columns = F.pad(map4, (0, missing)).permute(0, 2, 3, 1).reshape(b, h, -1, SPAN, c)
    columns, bands = F.pad(columns, (0, 0, 0, wide + 1 - SPAN)), []
    for dy in range(2 * radius + 1):
        full = torch.matmul(columns, spans[:, dy : dy + h])
        bands.append(full.reshape(b, h, -1, wide, wide + 1)[..., : 2 * radius + 1])
    return torch.cat(bands, 4)[:, :, :, :SPAN].reshape(b, h, w + missing, -1)[:, :, :w].permute(0, 3, 1, 2)


class _BandedCost(torch.autograd.Function):
    """`window_cost` for training: each row pair is one matrix product, of which a diagonal band is kept.

    Several times faster forward and backward than shifted products, on CPU (AMX, bf16) and GPU alike.
    """

    @staticmethod
    def _band(full: torch.Tensor, radius: int) -> torch.Tensor:
        b, h, w, wide = full.shape
        return full.as_strided((b, h, w, 2 * radius + 1), (h * w * wide, w * wide, wide + 1, 1))

    @staticmethod
    def forward(ctx, map4, image4, radius):
        kind = torch.get_autocast_dtype(map4.device.type) if torch.is_autocast_enabled(map4.device.type) else map4.dtype
        a = map4.to(kind).permute(0, 2, 3, 1).contiguous()
        p = F.pad(image4.to(kind), (radius,) * 4).permute(0, 2, 3, 1).contiguous()
        ctx.save_for_backward(a, p)
        ctx.radius, ctx.kinds = radius, (map4.dtype, image4.dtype)
        h = a.shape[1]
        bands = [
            _BandedCost._band(torch.matmul(a, p[:, dy : dy + h].transpose(2, 3)).contiguous(), radius)
            for dy in range(2 * radius + 1)
        ]
        return torch.cat(bands, 3).permute(0, 3, 1, 2).float().contiguous()

    @staticmethod
    def backward(ctx, gradient):
        a, p = ctx.saved_tensors
        r, n = ctx.radius, 2 * ctx.radius + 1
        b, h, w, _ = a.shape
        gradient = gradient.to(a.dtype).permute(0, 2, 3, 1)
        da, dp = torch.zeros_like(a, dtype=torch.float32), torch.zeros_like(p, dtype=torch.float32)
        for dy in range(n):
            full = a.new_zeros(b, h, w, w + 2 * r)
            _BandedCost._band(full, r).copy_(gradient[..., dy * n : (dy + 1) * n])
            da += torch.matmul(full, p[:, dy : dy + h])
            dp[:, dy : dy + h] += torch.matmul(full.transpose(2, 3), a)
        dp = dp[:, r : r + h, r : r + w]
        return da.permute(0, 3, 1, 2).to(ctx.kinds[0]), dp.permute(0, 3, 1, 2).to(ctx.kinds[1]), None


def _matmul32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product in single precision: half of it rounds the number of a column to a quarter of a cell."""
    with torch.autocast(a.device.type, enabled=False):
        return torch.matmul(a.float(), b.float())


def _window_offsets(radius: int, like: torch.Tensor) -> torch.Tensor:
    """Horizontal and vertical offset in cells of each channel of `window_cost`, (channels, 2)."""
    steps = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    n = len(steps)
    return torch.stack([steps.repeat(n), steps.repeat_interleave(n)], 1)


def _expected_flow(similarity: torch.Tensor, h: int, w: int):
    """Sub-cell displacement to the best image cell, from the 3x3 cells around it.

    Returns the displacement in pixels (B, 2, h, w), the probability mass of the 3x3 cells and the largest
    probability (B, 1, h, w).
    """
    probability = torch.softmax(similarity, dim=2).unflatten(2, (h, w))
    columns, rows = (torch.arange(n, device=similarity.device) for n in (w, h))
    best, row = probability.amax(3).max(2)
    # rows of the neighbourhood by products with masks: no gather, so that every exporter handles it, and far fewer
    # numbers than masks of the whole image
    away = (rows - row.unsqueeze(2)).abs()
    own, near = (away == 0).to(probability.dtype), (away < 2).to(probability.dtype)
    masks = torch.stack([own, near, near * rows.to(probability.dtype)], 2)
    of_row, near_rows, times_row = _matmul32(masks, probability).unbind(2)
    beside = ((columns - of_row.argmax(2, keepdim=True)).abs() < 2).to(probability.dtype)
    near_rows, times_row = near_rows * beside, times_row * beside
    mass = near_rows.sum(2)
    where_to = torch.stack([(near_rows * columns.to(probability.dtype)).sum(2), times_row.sum(2)], 2)
    own_column, own_row = columns.expand(h, w).reshape(-1), rows.view(-1, 1).expand(h, w).reshape(-1)
    cells = torch.stack([own_column, own_row], 1).to(probability.dtype)
    flow = (where_to / mass.clamp(min=1e-8).unsqueeze(2) - cells).transpose(1, 2) * COARSE
    shape = (-1, 1, h, w)
    return flow.reshape(-1, 2, h, w), mass.view(shape), best.view(shape)
