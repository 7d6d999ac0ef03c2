"""Randomness as a function of (seed, cycle, epoch, ...), never of history."""

import hashlib


def derive(*parts: int | str) -> int:
    """Return a seed in [0, 2^63) that depends on all `parts` and on nothing else.

    Python's own hash() of a string differs between processes; this one is the same everywhere.
    The parts are written with their type and length, so ("a", "b"), ("ab",) and 1, "1" differ.
    ValueError for no parts or for a part that is neither int nor str.

    >>> derive(0, "epoch", 3)
    6322883895467284127
    >>> derive(1) == derive("1")
    False
    """
    if not parts:
        raise ValueError("a seed needs at least one part")
    digest = hashlib.blake2b(b"".join(_encode(part) for part in parts), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _encode(part: int | str) -> bytes:
    if type(part) not in (int, str):
        raise ValueError(f"a part of a seed must be int or str, got {part!r}")
    text = str(part).encode()
    return f"{type(part).__name__}:{len(text)}:".encode() + text
