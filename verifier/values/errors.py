"""Everything that can go wrong, as types.

An outcome (`unknown`, `timeout`) is data; misuse is a `UserError`; a broken invariant is an `UnsoundBound`.
"""

from typing import Any


class VerifierError(Exception):
    """Root of every error this package raises on purpose."""


class UserError(VerifierError):
    """Input that cannot be used.  The message is one line: what, where, what to do."""


class Unwritten(UserError):
    """A file that cannot be written, noticed only then; what was found stands.

    Attributes:
        found: what would have been returned, where that is known.
    """

    def __init__(self, message: str, found: Any = None) -> None:
        super().__init__(message)
        self.found = found


class ModelError(UserError):
    """A network that cannot be read or is not supported; the message names the file and the node."""


class PropertyError(UserError):
    """A property that cannot be read or does not fit; the message names file, line and column."""


class UnsoundBound(VerifierError):
    """A broken invariant (NaN bound, lower above upper, mismatch with the original): the run stops, no verdict."""


def why(e: Exception) -> str:
    """What a reader found wrong with a file, in words for people."""
    if isinstance(e, UnicodeDecodeError):
        return "it is not text"
    return getattr(e, "strerror", None) or str(e)


_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "Unable to allocate", "not enough memory")


def memory_is_out(e: BaseException) -> bool:
    """Whether an error of a library means that there was no memory; each says it in words of its own."""
    return isinstance(e, MemoryError) or any(words in str(e) for words in _NO_MEMORY)
