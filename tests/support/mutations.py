"""Damaged image files without end, the same for the same seed."""

import random
from collections.abc import Iterator, Mapping

# What a length, a size or a count becomes.
_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\x80\0\0\0")
_HEADER = 200  # Most of what a decoder trusts stands in so many first bytes.


def mutated(files: Mapping[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield damaged files, each with how it was made.

    Args:
        files: Name -> a good file.
        count: How many to yield.
        seed: Another seed, other damage.
    """
    rng = random.Random(seed)
    names = sorted(files)
    for number in range(count):
        name = names[number % len(names)]
        data, steps = files[name], []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            damage = rng.choice(_DAMAGES)
            data = damage(rng, data, files[rng.choice(names)])
            steps.append(damage.__name__.strip("_"))
        yield f"{number} {name} {' '.join(steps)}", data


def _place(rng: random.Random, data: bytes) -> int:
    """Return a place in a file, every other time in its header."""
    return rng.randrange(max(1, min(len(data), rng.choice((_HEADER, len(data))))))


def _flip(rng: random.Random, data: bytes, _: bytes) -> bytes:
    changed = bytearray(data)
    for _bit in range(rng.choice((1, 1, 4, 40))):
        if changed:
            changed[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: _place(rng, data)]


def _remove(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = _place(rng, data)
    return data[:start] + data[start + rng.choice((1, 4, 100, len(data) // 3)) :]


def _repeat(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = _place(rng, data)
    piece = data[start : start + rng.choice((1, 12, 500))]
    return data[:start] + piece * rng.choice((2, 50)) + data[start:]


def _insert(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = _place(rng, data)
    return data[:start] + rng.randbytes(rng.choice((1, 3, 300))) + data[start:]


def _overwrite(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start, length = _place(rng, data), rng.choice((2, 30, 3000))
    fill = rng.choice((b"\0" * length, b"\xff" * length, rng.randbytes(length)))
    return data[:start] + fill[: len(data) - start] + data[start + length :]


def _exaggerate(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = _place(rng, data)
    value = rng.choice(_EXTREMES)[: rng.choice((2, 4))]
    return data[:start] + value + data[start + len(value) :]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start = _place(rng, data)
    return data[:start] + other[rng.choice((start, _place(rng, other))) :]


_DAMAGES = (_flip, _cut, _remove, _repeat, _insert, _overwrite, _exaggerate, _splice)
