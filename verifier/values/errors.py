"""Everything that can go wrong, as types.

An outcome (`unknown`, `timeout`) is data; misuse is a `UserError`; a broken invariant is an `UnsoundBound`.
"""


class VerifierError(Exception):
    """Root of every error this package raises on purpose."""


class UserError(VerifierError):
    """Input that cannot be used.  The message is one line: what, where, what to do."""


class ModelError(UserError):
    """A network that cannot be read or is not supported; the message names the file and the node."""


class PropertyError(UserError):
    """A property that cannot be read or does not fit; the message names file, line and column."""


class UnsoundBound(VerifierError):
    """A broken invariant (NaN bound, lower above upper, mismatch with the original): the run stops, no verdict."""
