"""Training methods, one file each."""

from __future__ import annotations

from verifier.train.method import Method
from verifier.train.methods.cc_ibp import CCIBP as CCIBP
from verifier.train.methods.crown_ibp import CROWNIBP as CROWNIBP
from verifier.train.methods.exp_ibp import ExpIBP as ExpIBP
from verifier.train.methods.ibp import IBP as IBP
from verifier.train.methods.mtl_ibp import MTLIBP as MTLIBP
from verifier.train.methods.pgd import PGD as PGD
from verifier.train.methods.sabr import SABR as SABR
from verifier.train.methods.staps import STAPS as STAPS
from verifier.train.methods.taps import TAPS as TAPS
from verifier.train.methods.trades import TRADES as TRADES

METHODS: dict[str, type[Method]] = {
    "ibp": IBP,
    "crown_ibp": CROWNIBP,
    "sabr": SABR,
    "taps": TAPS,
    "staps": STAPS,
    "mtl_ibp": MTLIBP,
    "cc_ibp": CCIBP,
    "exp_ibp": ExpIBP,
    "pgd": PGD,
    "trades": TRADES,
}
"""Name in a configuration -> method.  A key of its table is the field's name without a trailing underscore: `lambda`
is the field `lambda_`."""
