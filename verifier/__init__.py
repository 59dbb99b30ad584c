"""Proves or refutes properties of neural networks.

Everything here is imported when it is first used, so that `import verifier` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

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


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name == "train":  # a folder of its own
        return importlib.import_module("verifier.train")
    if name not in _WHERE:
        raise AttributeError(f"module 'verifier' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__", "train"]
