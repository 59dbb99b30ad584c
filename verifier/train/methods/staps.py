"""TAPS on the small box of SABR."""

from __future__ import annotations

from dataclasses import dataclass, replace

from verifier.train.method import Batch, Robust, check_number, check_whole
from verifier.train.methods.adversarial import Adversarial
from verifier.train.methods.sabr import small_box
from verifier.train.methods.taps import Latent


@dataclass(frozen=True)
class STAPS(Adversarial):
    """The loss of TAPS on a small box inside the box, where an attack finds the loss large.

    Source: Mao et al., *Connecting Certified and Adversarial Training*, 2023 (STAPS).  Both attacks have
    the same steps and restarts.  While eps grows it is SABR.

    Attributes:
        lambda_, shrink: as in `SABR`.  attacked, weight: as in `TAPS`.
        center_size: of a step of the attack that places the small box, `size` being that of the latent one.

    Raises:
        UserError: a field out of range.
    """

    lambda_: float = 0.4
    attacked: int = 1
    weight: float = 4.0
    shrink: float = 1.0
    center_size: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "lambda_", 0, 1)
        check_whole(self, "attacked", 1)
        check_number(self, "weight", 0, above=True)
        check_number(self, "shrink", 0, 1, above=True)
        check_number(self, "center_size", 0)

    def robust(self, batch: Batch) -> Robust:
        """See `Method.robust`."""
        small = small_box(batch, replace(self.attack(), size=self.center_size), self.lambda_)
        part = Latent(self.attack(), self.attacked, self.weight, self.shrink)
        return part.robust(batch, *small)._replace(verified=None)
