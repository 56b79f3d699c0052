"""The scan on a CPU: one look at every logit while it is in the cache, in compiled code.

Torch passes over a tile a dozen times for what `scan.TorchScanner` keeps; here numba compiles one
loop that takes several logits an instruction, and no more than one tile of logits exists at once.
"""

from typing import Any, no_type_check

import numba
import numpy as np
import torch
from numba.extending import intrinsic

from llm_anatomy.neurons.scan import (
    BLOCK,
    LOG2_E,
    SAFE_EXPONENT,
    SUMS,
    Chunk,
    Scan,
    TiledHead,
    add_tiles,
    tile_sums,
)


class CompiledScanner:
    """Scans on one thread.

    Args:
        head: The head.
        rows: Vectors at once.
        candidates: Tokens to keep at each end; equal logits by token id.
    """

    def __init__(self, head: TiledHead, rows: int, candidates: int) -> None:
        self.head, self.rows, self.candidates = head, rows, candidates

    def scan(self, chunk: Chunk) -> Scan:
        """See `scan.Scanner`."""
        rows = len(chunk.vectors)
        logits = chunk.vectors.new_empty(rows, self.head.tile)
        values = torch.full((2, rows, self.candidates), -torch.inf)
        ids = torch.zeros(2, rows, self.candidates, dtype=torch.int64)
        sums = torch.empty(self.head.tiles, len(SUMS), rows, dtype=torch.float64)
        means = chunk.mean.float()
        for index in range(self.head.tiles):
            width = self.head.multiply(chunk.vectors, index, logits)
            tokens = self.head.tokens(index)
            norms = self.head.inverse_norms[tokens]
            parts = (logits, means, norms, values, ids, sums[index])
            widest = _take_tile(tokens.start, width, *(part.numpy() for part in parts))
            if not chunk.safe and widest > SAFE_EXPONENT:
                exact = logits[:, :width].double()
                sums[index] = tile_sums(exact, chunk.mean, norms.double(), safe=True)
        values[1].neg_()
        return Scan(sums=add_tiles(list(sums)), ids=ids, logits=values)


def _power_of_two() -> list[np.float32]:
    """Coefficients of 2^f for |f| <= 1/2, to a tenth of float32's precision."""
    series = np.polynomial.Chebyshev.interpolate(np.exp2, 6, [-0.5, 0.5])
    power = series.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1])
    return [np.float32(coefficient) for coefficient in power.coef]


C0, C1, C2, C3, C4, C5, C6 = _power_of_two()
SCALE, INFINITY = np.float32(LOG2_E), np.float32(np.inf)
ZERO, HALF, BIAS, MANTISSA = (np.float32(value) for value in (0, 0.5, 127, 1 << 23))
# Sums may be taken in any order, without which no loop can take several numbers at once. Nothing is
# said of infinities: extremes start from them. Division is numpy's, without a test for zero.
COMPILED: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "nnan"},
}


def _extreme(comparison: str) -> Any:
    """The larger or the smaller of two numbers, in the one form that becomes one instruction."""

    @no_type_check
    def typed(context, first, second):
        def generate(context, builder, signature, pair):
            first, second = pair
            flags = ["nnan", "nsz"]
            wins = builder.fcmp_ordered(comparison, first, second, flags=flags)
            return builder.select(wins, first, second, flags=flags)

        return numba.float32(numba.float32, numba.float32), generate

    return intrinsic(typed)


_larger, _smaller = _extreme(">"), _extreme("<")


@numba.njit(**COMPILED)
@no_type_check
def _insert(values, ids, value, token):
    """Put a value among the descending ones; the last one falls out, equal ones stay before it."""
    place = len(values) - 1
    while place > 0 and values[place - 1] < value:
        values[place], ids[place] = values[place - 1], ids[place - 1]
        place -= 1
    values[place], ids[place] = value, token


@numba.njit(**COMPILED)
@no_type_check
def _take_tile(first_token, width, logits, means, inverse_norms, values, ids, sums):
    """Take the sums of a tile, and what belongs among the extreme logits so far.

    Returns the largest distance of a logit from its row's mean; beyond `SAFE_EXPONENT` the sums are
    not to be used.
    """
    widest = ZERO
    last = values.shape[2] - 1
    for row in range(len(logits)):
        mean = means[row]
        positive = positive_logits = negative = negative_logits = square = cube = fourth = 0.0
        nearest, farthest = -INFINITY, INFINITY
        for start in range(0, width, BLOCK):
            stop = min(start + BLOCK, width)
            largest, smallest = -INFINITY, INFINITY
            # Sums of a block in float32, of blocks in float64.
            p = pc = n = nc = c2 = c3 = c4 = ZERO
            for column in range(start, stop):
                z = logits[row, column]
                largest, smallest = _larger(largest, z), _smaller(smallest, z)
                # 2^c and 2^-c: the whole part goes into the exponent's bits, and the even and odd
                # terms of the polynomial serve both.
                c = (z - mean) * SCALE
                whole = np.floor(c + HALF)
                f = c - whole
                f2 = f * f
                even = C0 + f2 * (C2 + f2 * (C4 + f2 * C6))
                odd = f * (C1 + f2 * (C3 + f2 * C5))
                up = (even + odd) * np.int32((BIAS + whole) * MANTISSA).view(np.float32)
                down = (even - odd) * np.int32((BIAS - whole) * MANTISSA).view(np.float32)
                squared = c * c
                p += up
                pc += up * c
                n += down
                nc += down * c
                c2 += squared
                c3 += squared * c
                c4 += squared * squared
                cosine = z * inverse_norms[column]
                nearest, farthest = _larger(nearest, cosine), _smaller(farthest, cosine)
            positive += p
            positive_logits += pc
            negative += n
            negative_logits += nc
            square += c2
            cube += c3
            fourth += c4
            widest = _larger(widest, _larger(largest - mean, mean - smallest))
            if largest > values[0, row, last]:
                for column in range(start, stop):
                    if logits[row, column] > values[0, row, last]:
                        _insert(
                            values[0, row], ids[0, row], logits[row, column], first_token + column
                        )
            if -smallest > values[1, row, last]:
                for column in range(start, stop):
                    if -logits[row, column] > values[1, row, last]:
                        _insert(
                            values[1, row], ids[1, row], -logits[row, column], first_token + column
                        )
        sums[0, row], sums[1, row] = positive, positive_logits
        sums[2, row], sums[3, row] = negative, negative_logits
        sums[4, row], sums[5, row], sums[6, row] = square, cube, fourth
        sums[7, row], sums[8, row] = nearest, farthest
    return widest
