"""Images moved and mirrored at random."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def augmented(x: Tensor, crop: int, flip: bool, generator: Generator) -> Tensor:
    """Images `[B, C, H, W]`, each moved by up to `crop` pixels (edges repeated) and mirrored every other time."""
    B, device = len(x), x.device
    if flip:
        mirrored = (torch.rand(B, generator=generator) < 0.5).to(device)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    if crop:
        _, _, H, W = x.shape
        down, right = torch.randint(0, 2 * crop + 1, (2, B), generator=generator).to(device)
        wide = F.pad(x, [crop] * 4, mode="replicate")
        rows = (down[:, None] + torch.arange(H, device=device))[:, None, :, None]
        columns = (right[:, None] + torch.arange(W, device=device))[:, None, None, :]
        x = wide[
            torch.arange(B, device=device)[:, None, None, None],
            torch.arange(x.shape[1], device=device)[:, None, None],
            rows,
            columns,
        ]
    return x
