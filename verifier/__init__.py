"""Proves or refutes properties of neural networks.

Everything here is imported when it is first used, so that `import verifier` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `_WHERE` once more, for type checkers and editors
    from verifier import train as train
    from verifier.campaign.certify import certify as certify
    from verifier.campaign.radii import radii as radii
    from verifier.run.bound import OutputBounds as OutputBounds
    from verifier.run.bound import bound as bound
    from verifier.run.diagnose import Diagnosis as Diagnosis
    from verifier.run.diagnose import diagnose as diagnose
    from verifier.run.lipschitz import Lipschitz as Lipschitz
    from verifier.run.lipschitz import lipschitz as lipschitz
    from verifier.run.model import load as load
    from verifier.run.monotone import Monotone as Monotone
    from verifier.run.monotone import jacobian as jacobian
    from verifier.run.monotone import monotone as monotone
    from verifier.run.questions import robustness as robustness
    from verifier.run.relations import equivalent as equivalent
    from verifier.run.relations import find_range as find_range
    from verifier.run.relations import monotonicity as monotonicity
    from verifier.run.relations import output_range as output_range
    from verifier.run.relations import robust as robust
    from verifier.run.tensors import by_name as by_name
    from verifier.run.tensors import input_set as input_set
    from verifier.run.tightness import tightness as tightness
    from verifier.run.verify import Result as Result
    from verifier.run.verify import verify as verify
    from verifier.spec.builders import output_property as output_property
    from verifier.spec.property import Property as Property
    from verifier.spec.query2 import Query2 as Query2
    from verifier.spec.vnnlib import read as read
    from verifier.spec.write import write_vnnlib as write_vnnlib
    from verifier.values.ball import Ball as Ball
    from verifier.values.box import Box as Box
    from verifier.values.errors import UnsoundBound as UnsoundBound
    from verifier.values.errors import Unwritten as Unwritten
    from verifier.values.errors import UserError as UserError
    from verifier.values.errors import VerifierError as VerifierError
    from verifier.values.verdict import Verdict as Verdict

__version__ = "0.1.0"

_WHERE = {
    "Ball": "verifier.values.ball",
    "Box": "verifier.values.box",
    "Monotone": "verifier.run.monotone",
    "OutputBounds": "verifier.run.bound",
    "Property": "verifier.spec.property",
    "Query2": "verifier.spec.query2",
    "Result": "verifier.run.verify",
    "UserError": "verifier.values.errors",
    "UnsoundBound": "verifier.values.errors",
    "Unwritten": "verifier.values.errors",
    "VerifierError": "verifier.values.errors",
    "Verdict": "verifier.values.verdict",
    "bound": "verifier.run.bound",
    "by_name": "verifier.run.tensors",
    "certify": "verifier.campaign.certify",
    "equivalent": "verifier.run.relations",
    "find_range": "verifier.run.relations",
    "input_set": "verifier.run.tensors",
    "jacobian": "verifier.run.monotone",
    "Diagnosis": "verifier.run.diagnose",
    "diagnose": "verifier.run.diagnose",
    "Lipschitz": "verifier.run.lipschitz",
    "lipschitz": "verifier.run.lipschitz",
    "load": "verifier.run.model",
    "monotone": "verifier.run.monotone",
    "monotonicity": "verifier.run.relations",
    "output_property": "verifier.spec.builders",
    "output_range": "verifier.run.relations",
    "radii": "verifier.campaign.radii",
    "read": "verifier.spec.vnnlib",
    "robust": "verifier.run.relations",
    "robustness": "verifier.run.questions",
    "tightness": "verifier.run.tightness",
    "verify": "verifier.run.verify",
    "write_vnnlib": "verifier.spec.write",
}

__all__ = sorted(_WHERE)


if not TYPE_CHECKING:  # or a checker would take any name for one that is there

    def __getattr__(name: str) -> Any:
        """Import a public name from where it lives."""
        if name == "train":  # a folder of its own
            return importlib.import_module("verifier.train")
        if name not in _WHERE:
            raise AttributeError(f"module 'verifier' has no attribute {name!r}")
        return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__", "train"]
