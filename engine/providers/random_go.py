"""Go's `math/rand` generator, for the `seed` of RandomInteger and RandomShuffle.

The random provider promises the same result for the same seed, so a seed has to mean here what it means there. The
generator is an additive lagged Fibonacci one: x(n) = x(n-607) + x(n-273) modulo 2^64. Go starts it from a constant
table: the state after 7.8e12 steps from seed 1. That state is computed here by a jump (powers of x modulo the
recurrence's polynomial) rather than carried as 607 opaque numbers. It takes a tenth of a second, once, and only
where a seed is used.
"""

from __future__ import annotations

import functools

_LENGTH = 607
_TAP = 273
_WORD = 2**64
_INT31_MAX = 2**31 - 1
_STEPS_BEFORE_START = 7_800_000_000_000
_SLOT = 144  # bits a coefficient takes in a packed polynomial: a product's sum is below 2 * 607 * 2^128
_LEHMER = 48271


def crc64_iso(data: bytes) -> int:
    """CRC-64 with the ISO 3309 polynomial, as Go's hash/crc64 computes it."""
    crc = _WORD - 1
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xD800000000000000 if crc & 1 else 0)
    return crc ^ (_WORD - 1)


class GoRandom:
    """The part of Go's `rand.Rand` that the random provider uses, seeded by a string."""

    def __init__(self, seed: str) -> None:
        number = crc64_iso(seed.encode())
        signed = number - _WORD if number >= _WORD // 2 else number
        start = _lehmer_state(signed)
        self._state = [word ^ cooked for word, cooked in zip(_seed_words(start, (40, 20)), _start_table(), strict=True)]
        self._tap, self._feed = 0, _LENGTH - _TAP

    def _uint64(self) -> int:
        self._tap = (self._tap - 1) % _LENGTH
        self._feed = (self._feed - 1) % _LENGTH
        value = (self._state[self._feed] + self._state[self._tap]) % _WORD
        self._state[self._feed] = value
        return value

    def below(self, limit: int) -> int:
        """`Intn`: a number from 0 to limit-1. Go draws 31 bits where these suffice, and so must we."""
        bits = 31 if limit <= _INT31_MAX else 63
        value = self._bits(bits)
        if limit & (limit - 1) == 0:
            return value & (limit - 1)
        highest = 2**bits - 1 - 2**bits % limit
        while value > highest:
            value = self._bits(bits)
        return value % limit

    def _bits(self, bits: int) -> int:
        return (self._uint64() & (2**63 - 1)) >> (63 - bits)

    def permutation(self, size: int) -> list[int]:
        """`Perm`: the numbers 0 to size-1 in random order."""
        order = [0] * size
        for i in range(size):
            j = self.below(i + 1)
            order[i] = order[j]
            order[j] = i
        return order


def _lehmer_state(seed: int) -> int:
    # Go's remainder has the sign of the dividend; adding the modulus to a negative one equals Python's remainder.
    return seed % _INT31_MAX or 89482311


def _seed_words(state: int, shifts: tuple[int, int]) -> list[int]:
    """607 words, each from three numbers of a Lehmer generator, after 20 numbers are thrown away."""
    words = []
    for i in range(-20, _LENGTH):
        state = state * _LEHMER % _INT31_MAX
        if i < 0:
            continue
        word = state << shifts[0]
        state = state * _LEHMER % _INT31_MAX
        word ^= state << shifts[1]
        state = state * _LEHMER % _INT31_MAX
        words.append((word ^ state) % _WORD)
    return words


@functools.cache
def _start_table() -> tuple[int, ...]:
    """The generator's state 7.8e12 steps after seed 1, in the order of its ring buffer."""
    ring = _seed_words(1, (20, 10))
    newest_first = _LENGTH - _TAP - 1
    terms = [ring[(newest_first - k) % _LENGTH] for k in range(_LENGTH)]
    for k in range(_LENGTH):
        terms.append((terms[k] + terms[k + _LENGTH - _TAP]) % _WORD)
    jump = _power_of_x(_STEPS_BEFORE_START)
    table = [0] * _LENGTH
    for offset in range(_LENGTH):
        value = sum(c * t for c, t in zip(jump, terms[offset : offset + _LENGTH], strict=True)) % _WORD
        table[(newest_first - _STEPS_BEFORE_START - offset) % _LENGTH] = value
    return tuple(table)


def _power_of_x(exponent: int) -> list[int]:
    """Coefficients of x^exponent modulo x^607 - x^334 - 1, over the integers modulo 2^64."""
    result = [1] + [0] * (_LENGTH - 1)
    for bit in bin(exponent)[2:]:
        result = _square(result)
        if bit == "1":
            result = _reduce([0, *result])
    return result


def _square(poly: list[int]) -> list[int]:
    # One multiplication of two huge integers does all 368,000 products: each coefficient has its own stretch of bits.
    width = _SLOT // 8
    packed = int.from_bytes(b"".join(c.to_bytes(width, "little") for c in poly), "little")
    raw = (packed * packed).to_bytes(2 * _LENGTH * width, "little")
    return _reduce([int.from_bytes(raw[i : i + 8], "little") for i in range(0, (2 * _LENGTH - 1) * width, width)])


def _reduce(poly: list[int]) -> list[int]:
    for i in range(len(poly) - 1, _LENGTH - 1, -1):
        high = poly[i]
        poly[i - _LENGTH] = (poly[i - _LENGTH] + high) % _WORD
        poly[i - _TAP] = (poly[i - _TAP] + high) % _WORD
    return poly[:_LENGTH]
