"""Small modules on images and signals: blocks of convolutions, heads, pools.  See `exporters_nets`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Basic(nn.Module):
    """A residual block."""

    def __init__(self, n: int, m: int, stride: int) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(n, m, 3, stride, 1, bias=False), nn.BatchNorm2d(m)
        self.b, self.nb = nn.Conv2d(m, m, 3, 1, 1, bias=False), nn.BatchNorm2d(m)
        self.skip = nn.Sequential(nn.Conv2d(n, m, 1, stride, bias=False), nn.BatchNorm2d(m))

    def forward(self, x: Tensor) -> Tensor:
        """`relu(skip + b(relu(a)))`."""
        y = F.relu(self.na(self.a(x)), inplace=True)
        y = self.nb(self.b(y))
        y += self.skip(x)
        return F.relu(y)


def resnet() -> nn.Module:
    """Stem, block, head."""
    stem = nn.Sequential(
        nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    )
    return nn.Sequential(stem, Basic(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))


class Squeeze(nn.Module):
    """Squeeze and excite."""

    def __init__(self, n: int, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.down, self.up, self.gate = nn.Conv2d(n, n // 2, 1), nn.Conv2d(n // 2, n, 1), gate()

    def forward(self, x: Tensor) -> Tensor:
        """Channels times what their means say."""
        return x * self.gate(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class Inverted(nn.Module):
    """An inverted residual block: wide, depthwise, narrow."""

    def __init__(self, n: int, wide: int, act: type[nn.Module], squeeze: bool) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(n, wide, 1, bias=False), nn.BatchNorm2d(wide), act()]
        parts += [nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), act()]
        parts += [Squeeze(wide, nn.Hardsigmoid)] if squeeze else []
        self.body = nn.Sequential(*parts, nn.Conv2d(wide, n, 1, bias=False), nn.BatchNorm2d(n))

    def forward(self, x: Tensor) -> Tensor:
        """The block beside its input."""
        return x + self.body(x)


def mobile(act: type[nn.Module], squeeze: bool) -> nn.Module:
    """Two convolutions and a block."""
    first = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), act())
    return nn.Sequential(
        first, Inverted(4, 8, act, squeeze), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(4, 3)
    )


class UNet(nn.Module):
    """One step down and up again."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(8, 2, 1)
        self.mode, self.up = up, nn.ConvTranspose2d(4, 4, 2, 2) if up == "transposed" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every pixel."""
        a = F.relu(self.a(x))
        b = self.up(F.relu(self.b(F.max_pool2d(a, 2))))
        if self.mode == "nearest":
            b = F.interpolate(b, scale_factor=2, mode="nearest")
        elif self.mode == "bilinear":
            b = F.interpolate(b, size=a.shape[-2:], mode="bilinear", align_corners=False)
        return self.c(torch.cat([a, b], 1))


class Yolo(nn.Module):
    """A detection head: boxes on a grid, scores, all in one list."""

    def __init__(self, anchors: int = 2, classes: int = 2) -> None:
        super().__init__()
        self.conv, self.anchors, self.each = nn.Conv2d(3, anchors * (5 + classes), 1), anchors, 5 + classes
        self.register_buffer("sizes", torch.rand(anchors, 2) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, boxes, 5 + classes]`."""
        B, _, h, w = x.shape
        y = self.conv(x).view(B, self.anchors, self.each, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack((columns, rows), 2).view(1, 1, h, w, 2).float()
        xy = (y[..., :2] * 2 - 0.5 + grid) * 8.0
        wh = (y[..., 2:4] * 2) ** 2 * self.sizes.view(1, self.anchors, 1, 1, 2)
        return torch.cat((xy, wh, y[..., 4:]), -1).view(B, -1, self.each)


def segmentation(x: Tensor, conv: nn.Module, head: nn.Module) -> Tensor:
    """Scores of every pixel from a map half as large."""
    return F.interpolate(head(F.relu(conv(x))), size=x.shape[-2:], mode="bilinear", align_corners=False)


def convolutions() -> nn.Module:
    """One axis: dilated, depthwise, padded round."""
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv1d(4, 4, 3, padding="same", groups=4),
        nn.LeakyReLU(0.1), nn.Conv1d(4, 3, 2, 2, padding_mode="circular", padding=1), nn.AvgPool1d(2),
    )  # fmt: skip


def pooled() -> nn.Module:
    """Pools of all kinds in a row."""
    return nn.Sequential(
        nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AdaptiveAvgPool2d((2, 1)),
        nn.ConstantPad2d((1, 0, 0, 1), 0.5), nn.ReflectionPad2d(1), nn.ZeroPad2d((0, 1, 0, 0)), nn.AdaptiveMaxPool2d(1),
    )  # fmt: skip
