"""A controller that holds a pendulum upright: `pendulum.onnx` (2-32-32-1), state (angle, velocity) to torque.

The pendulum has mass 1 kg and length 1 m; the angle is 0 rad when upright, and the torque acts at the joint.  The
network imitates a controller that cancels gravity, adds the linear-quadratic regulator of what remains (a double
integrator) and clips the sum at 15 N m.

    python -m models.pendulum            # train and write the file
    python -m models.pendulum --check    # train and compare with the committed file
"""

from __future__ import annotations

import torch
from torch import nn

from models.export import main

GRAVITY = 9.81
LIMIT = 15.0
"""The largest torque of the controller that is imitated, in N m."""
ANGLE, VELOCITY = 1.2, 4.0
"""Trained on angles within ±ANGLE rad and velocities within ±VELOCITY rad/s."""


def teacher(state: torch.Tensor) -> torch.Tensor:
    """Torque `[n, 1]` of the controller to imitate in states `[n, 2]`.

    The regulator of a double integrator for the cost 100 angle² + 9 velocity² + torque² has the gains
    k1 = sqrt(100) and k2 = sqrt(9 + 2 k1).
    """
    k1 = 100.0**0.5
    k2 = (9.0 + 2.0 * k1) ** 0.5
    angle, velocity = state[:, :1], state[:, 1:]
    return (-GRAVITY * angle.sin() - k1 * angle - k2 * velocity).clamp(-LIMIT, LIMIT)


def controller() -> tuple[nn.Sequential, tuple[int, ...]]:
    """The network, trained, and the shape of its input."""
    torch.manual_seed(3)
    wide = {"dtype": torch.float64}
    layers = [nn.Linear(2, 32, **wide), nn.ReLU(), nn.Linear(32, 32, **wide), nn.ReLU(), nn.Linear(32, 1, **wide)]
    network = nn.Sequential(*layers)
    span = torch.tensor([ANGLE, VELOCITY], dtype=torch.float64)
    steps = 2500
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    for _ in range(steps):
        state = (2 * torch.rand(256, 2, dtype=torch.float64) - 1) * span
        optimiser.zero_grad()
        loss = (network(state) - teacher(state)).square().mean()
        loss.backward()
        optimiser.step()
        schedule.step()
    print(f"last mean squared error: {loss.item():.4f} (N m)^2")
    return network, (2,)


if __name__ == "__main__":
    raise SystemExit(main(__doc__, {"pendulum": controller}))
