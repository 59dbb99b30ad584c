"""What is added to a loss: weights that should be small, bounds that should stay stable while eps grows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from verifier.graph.graph import Graph
from verifier.graph.ops.relu import Relu
from verifier.train.method import Layers

TAU = 0.5
"""How uneven bounds and neurons may be before they cost anything (Shi et al. 2021, section 3.3)."""


def l1(module: nn.Module) -> Tensor:
    """Sum of magnitudes of all weights of linear and convolutional layers."""
    layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))]
    return torch.stack([m.weight.abs().sum() for m in layers]).sum()


def stable(graph: Graph, layers: Layers, lower: Tensor, upper: Tensor) -> Tensor:
    """What Shi et al. add during the warm-up: bounds should not widen, and neurons' signs should balance.

    Args:
        graph: the network.  layers: bounds `[B, *shape]` of its layers.  lower, upper: `[B, *shape]` of its inputs.

    Bounds: the mean of `max(0, τ − r₀/rᵢ)/τ` over the ReLUs, rᵢ the mean half-width of a ReLU's input, r₀ of the
    network's.  Balance: the mean of `max(0, τ − min(ρ, 1/ρ))/τ`, ρ once the mean centre of active neurons over that of
    inactive ones, once their variances'.  A term that is not finite (a layer without active or inactive neurons) is
    left out.  Source: Shi et al. 2021, equations 8 to 12.
    """
    r0 = ((upper - lower) * 0.5).mean()
    terms: list[Tensor] = []
    count = 0
    for node in graph.nodes:
        if not isinstance(node.op, Relu) or node.inputs[0] not in layers:
            continue
        count += 1
        l, u = layers[node.inputs[0]]
        center, radius = (l + u) * 0.5, (u - l) * 0.5
        terms.append(_short(r0 / radius.mean().clamp(min=1e-12)))
        terms.extend(_balance(center, l > 0, u < 0))
    if not terms:
        return r0 * 0
    return torch.stack(terms).sum() / (TAU * count)


def _balance(center: Tensor, active: Tensor, inactive: Tensor) -> list[Tensor]:
    """Both ratios' terms, of neurons that have one sign on the whole box."""
    n_active, n_inactive = active.sum(), inactive.sum()
    some = (n_active > 1) & (n_inactive > 1)
    zero = torch.zeros_like(center)
    mean_active = torch.where(active, center, zero).sum() / n_active.clamp(min=1)
    mean_inactive = torch.where(inactive, -center, zero).sum() / n_inactive.clamp(min=1)
    var_active = torch.where(active, center - mean_active, zero).square().sum() / n_active.clamp(min=1)
    var_inactive = torch.where(inactive, center + mean_inactive, zero).square().sum() / n_inactive.clamp(min=1)
    out = []
    for a, b in ((mean_active, mean_inactive), (var_active, var_inactive)):
        usable = some & (a > 0) & (b > 0)
        rho = torch.where(usable, a, 1.0) / torch.where(usable, b, 1.0)
        out.append(_short(torch.minimum(rho, 1 / rho)))
    return out


def _short(ratio: Tensor) -> Tensor:
    """How far a ratio falls short of tau."""
    return (TAU - ratio).clamp(min=0.0)
