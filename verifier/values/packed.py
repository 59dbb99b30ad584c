"""Unpacking gzip data in bounded pieces: three megabytes may stand for gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from verifier.values.errors import UserError

MOST = 2**31 - 1
"""Bytes that a file may unpack to: a model in one file cannot be larger."""
_PIECE = 2**14
"""Packed bytes that are unpacked at once; they become a thousand times as many at most."""
_GZIP = 16 + zlib.MAX_WBITS


def is_packed(data: bytes) -> bool:
    """Whether these are gzip data, by their first bytes."""
    return data.startswith(b"\x1f\x8b")


def unpacked(data: bytes, most: int = MOST) -> bytes:
    """What gzip data (of one member or several) hold, in memory for that and one piece more.

    Where the size at the end of the data (which may be no size, or a lie) is too much, it is counted before anything is
    kept.

    Raises:
        UserError: damaged, cut off, or more than `most`; a reason without the file's name.
    """
    if int.from_bytes(data[-4:], "little") > most:
        _count(data, most)
    pieces, size = [], 0
    for piece in _pieces(data):
        size += len(piece)
        _limit(size, most)
        pieces.append(piece)
    return b"".join(pieces)


def _count(data: bytes, most: int) -> None:
    size = 0
    for piece in _pieces(data):
        size += len(piece)
        _limit(size, most)


def _limit(size: int, most: int) -> None:
    if size > most:
        raise UserError(f"it unpacks to more than {most / 1e9:.3g} GB, the most that is read; see what is in it")


def _pieces(data: bytes) -> Iterator[bytes]:
    """What the data hold, piece by piece."""
    member = zlib.decompressobj(_GZIP)
    for at in range(0, len(data), _PIECE):
        rest = data[at : at + _PIECE]
        while rest:
            try:
                yield member.decompress(rest)
            except zlib.error as e:
                raise UserError(f"damaged gzip data: {e}; fetch the file again") from None
            rest = member.unused_data
            if member.eof:
                rest = rest.lstrip(b"\0")  # some writers pad
                member = zlib.decompressobj(_GZIP) if rest else member
    if not member.eof:
        raise UserError("damaged gzip data: cut off; fetch the file again")
