"""Weights to start from."""

from __future__ import annotations

import math

import torch
from torch import Generator, nn


@torch.no_grad()
def ibp(module: nn.Module, generator: Generator | None = None) -> None:
    """Normal weights of variance `2π / fan_in²` in every linear and convolutional layer but the last, biases zero.

    Interval bounds then keep their width from layer to layer, whatever the fan-in.
    Source: Shi et al., *Fast Certified Robust Training with Short Warmup*, 2021, section 3.1.
    """
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))]
    for layer in layers[:-1]:
        fan_in = layer.weight[0].numel()
        layer.weight.normal_(0, math.sqrt(2 * math.pi) / fan_in, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
