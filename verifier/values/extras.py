"""What more than the base of this package some of its parts need, and one line where that is not installed."""

from __future__ import annotations

from verifier.values.errors import UserError

EXTRAS = {
    "torch": ("torch", "onnxscript"),
    "report": ("jinja2", "matplotlib", "PIL"),
    "sdp": ("cvxpy",),
    "data": ("sklearn",),
    "train": ("tensorboard", "torchvision"),
}
"""Modules that each extra of pyproject.toml brings; `all` stands for all of these but the last."""


def need(what: str, extra: str, *modules: str) -> None:
    """Refuse `what` where modules of an extra are not installed; nothing is imported.

    Args:
        what: for the message.  modules: those that it needs, all of the extra where none is given.

    Raises:
        UserError: names them, and what to install.
    """
    from importlib.util import find_spec

    gone = [name for name in modules or EXTRAS[extra] if find_spec(name) is None]
    if gone:
        verb = "is" if len(gone) == 1 else "are"
        raise UserError(f"{what}: {', '.join(gone)} {verb} not installed; pip install 'verifier[{extra}]'")
