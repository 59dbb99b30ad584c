"""The state of a training run on disk: written whole or not at all, read without executing anything."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from verifier.values.errors import Unwritten, UserError

VERSION = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, text, lists, dictionaries) to `path`.

    A file that is there already is replaced at one moment, after the new one is on the disk: whenever the process
    dies, one of the two is whole.

    Raises:
        Unwritten: it cannot be written.
    """
    aside = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as f:
            torch.save({"version": VERSION, **state}, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(aside, path)
    except (OSError, RuntimeError) as e:  # torch may say it either way
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        why = e.strerror if isinstance(e, OSError) else str(e).partition("\n")[0]
        raise Unwritten(f"{path}: cannot be written ({why}); free some space, or give another folder") from None


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote.

    Raises:
        UserError: it isn't there, or isn't whole.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: nothing to go on with") from None
    except Exception as e:  # torch's reader of damaged files may fail in any way
        raise UserError(
            f"{path}: not a checkpoint of this program ({next(iter(str(e).splitlines()), type(e).__name__)})"
        ) from None
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise UserError(f"{path}: not a checkpoint of this version of the program")
    return state
