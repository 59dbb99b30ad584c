"""Training networks that can be certified: losses from bounds, what changes with time, runs that can be resumed.

Everything here is imported when it is first used.  A loop of one's own needs three of these names:

    net = verifier.train.Trainable(module, x[:1])
    method = verifier.train.IBP()
    for x, y in batches:
        loss = method.loss(net, x, y, *verifier.train.box(x, eps, domain=(0, 1)))
        loss.robust.mean().backward()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from verifier.values.extras import need

if TYPE_CHECKING:  # `_WHERE` once more, for type checkers and editors
    from verifier.train import data as _data
    from verifier.train import recipe as _recipe
    from verifier.train.architectures import build as build
    from verifier.train.attack import Attack as Attack
    from verifier.train.bounds import interval as interval
    from verifier.train.data import Data as Data
    from verifier.train.evaluate import accuracy as accuracy
    from verifier.train.loop import Trained as Trained
    from verifier.train.loop import fit as fit
    from verifier.train.method import Batch as Batch
    from verifier.train.method import Loss as Loss
    from verifier.train.method import Method as Method
    from verifier.train.method import Robust as Robust
    from verifier.train.method import box as box
    from verifier.train.methods import CCIBP as CCIBP
    from verifier.train.methods import CROWNIBP as CROWNIBP
    from verifier.train.methods import IBP as IBP
    from verifier.train.methods import METHODS as METHODS
    from verifier.train.methods import MTLIBP as MTLIBP
    from verifier.train.methods import PGD as PGD
    from verifier.train.methods import SABR as SABR
    from verifier.train.methods import STAPS as STAPS
    from verifier.train.methods import TAPS as TAPS
    from verifier.train.methods import TRADES as TRADES
    from verifier.train.methods import ExpIBP as ExpIBP
    from verifier.train.model import Trainable as Trainable
    from verifier.train.recipe import Recipe as Recipe
    from verifier.train.recipe import parse as parse

    read_data, read_recipe = _data.read, _recipe.read

_WHERE = {
    "METHODS": "verifier.train.methods",
    **dict.fromkeys(
        ("IBP", "CROWNIBP", "SABR", "TAPS", "STAPS", "MTLIBP", "CCIBP", "ExpIBP", "PGD", "TRADES"),
        "verifier.train.methods",
    ),
    "Attack": "verifier.train.attack",
    "Batch": "verifier.train.method",
    "Data": "verifier.train.data",
    "Loss": "verifier.train.method",
    "Method": "verifier.train.method",
    "Recipe": "verifier.train.recipe",
    "Robust": "verifier.train.method",
    "Trainable": "verifier.train.model",
    "Trained": "verifier.train.loop",
    "accuracy": "verifier.train.evaluate",
    "box": "verifier.train.method",
    "build": "verifier.train.architectures",
    "fit": "verifier.train.loop",
    "interval": "verifier.train.bounds",
    "parse": "verifier.train.recipe",
    "read_data": "verifier.train.data",
    "read_recipe": "verifier.train.recipe",
}

__all__ = sorted(_WHERE)


if not TYPE_CHECKING:  # or a checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """Import a public name from where it lives.

        Raises:
            UserError: torch is not installed, which it needs.
        """
        if name not in _WHERE:
            raise AttributeError(f"module 'verifier.train' has no attribute {name!r}")
        if not name.endswith(("Data", "_data")):  # reading data is for whoever certifies, too
            need(f"verifier.train.{name}", "torch", "torch")
        return getattr(importlib.import_module(_WHERE[name]), name.removesuffix("_data").removesuffix("_recipe"))


def __dir__() -> list[str]:
    return __all__
