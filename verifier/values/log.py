"""What is done and why, told to whoever has set up `logging` for it; nothing, at no cost, where nobody has.

Loggers are called `verifier.<what>`.  The package installs no handlers: that is for programs, such as `--log`.
"""

from __future__ import annotations

import sys
from typing import Any


def heard(what: str) -> bool:
    """Whether somebody listens to the logger `verifier.<what>`: for lines that take work to make."""
    logging = sys.modules.get("logging")
    return logging is not None and bool(logging.getLogger(f"verifier.{what}").isEnabledFor(logging.INFO))


def note(what: str, text: str, *values: Any) -> None:
    """Tell the logger `verifier.<what>` a line: `text % values`, put together only where somebody listens."""
    logging = sys.modules.get("logging")  # who listens has imported it
    if logging is not None:
        logging.getLogger(f"verifier.{what}").info(text, *values)
