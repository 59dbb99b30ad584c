"""The four possible answers."""

from enum import StrEnum


class Verdict(StrEnum):
    """Answer to "is there an input that satisfies the property?", as the competition words it."""

    SAT = "sat"
    UNSAT = "unsat"
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"
