"""The scan on a card: one look at every logit, in one kernel behind one matrix product.

Written in Triton, which comes with torch's CUDA builds; where it is not there, `scan.TorchScanner`
takes its place. With TRITON_INTERPRET=1 in the environment the kernel runs on a CPU, for tests.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.neurons.products import SplitHead
from llm_anatomy.neurons.scan import (
    BLOCK,
    SAFE_EXPONENT,
    SUMS,
    Chunk,
    Scan,
    best_blocks,
    best_inside,
    tile_sums,
)

# Blocks that a program looks at together: 16 are the fastest of 8 to 64 on an H100.
BLOCKS_AT_ONCE = 16
# Rows whose sums are taken in float64 together.
EXACT_ROWS = 64


class FusedScanner:
    """Scans with one product and one kernel.

    Args:
        head: The head.
        rows: Vectors at once; a buffer holds all of their logits.
        candidates: Tokens to keep at each end; equal logits by token id.
    """

    def __init__(self, head: SplitHead, rows: int, candidates: int) -> None:
        self.head, self.rows, self.candidates = head, rows, candidates
        new = head.inverse_norms.new_empty
        self.logits = new(rows, head.columns)
        self.extremes = new(2, rows, head.columns // BLOCK)
        self.sums = new(len(SUMS), rows)

    def scan(self, chunk: Chunk) -> Scan:
        """See `scan.Scanner`."""
        rows = len(chunk.vectors)
        logits, extremes = self.logits[:rows], self.extremes[:, :rows]
        self.head.multiply(chunk.vectors, logits)
        _take_row[(rows,)](
            logits,
            chunk.mean.float(),
            self.head.inverse_norms,
            self.sums,
            extremes[0],
            extremes[1],
            self.rows,
            self.head.vocab,
            self.head.columns,
            BLOCK,
            BLOCKS_AT_ONCE,
        )
        sums = self.sums[:, :rows].double()
        if not chunk.safe:
            self._take_wide_rows_exactly(chunk, logits, extremes, sums)
        ends = [self._candidates(logits, extremes[end], end == 0) for end in range(2)]
        return Scan(
            sums=sums,
            ids=torch.stack([ids for ids, _ in ends]),
            logits=torch.stack([values for _, values in ends]),
        )

    def _take_wide_rows_exactly(
        self, chunk: Chunk, logits: Tensor, extremes: Tensor, sums: Float[Tensor, "9 rows"]
    ) -> None:
        """Sum anew in float64 where powers of 2 may not fit float32."""
        above = extremes[0].amax(1) - chunk.mean
        below = chunk.mean - extremes[1].amin(1)
        wide = torch.maximum(above, below) > SAFE_EXPONENT
        norms = self.head.inverse_norms.double()
        for rows in wide.nonzero()[:, 0].split(EXACT_ROWS):
            exact = logits[rows, : self.head.vocab].double()
            sums[:, rows] = tile_sums(exact, chunk.mean[rows], norms, safe=True)

    def _candidates(self, logits: Tensor, extremes: Tensor, largest: bool) -> tuple[Tensor, Tensor]:
        blocks = best_blocks(extremes, self.candidates, largest)
        inside = logits.unflatten(1, (-1, BLOCK)).take_along_dim(blocks[:, :, None], dim=1)
        return best_inside(inside, blocks, self.head.vocab, self.candidates, largest)


@triton.jit
@no_type_check
def _take_row(
    logits,
    means,
    inverse_norms,
    sums,
    largest,
    smallest,
    rows,
    vocab: tl.constexpr,
    columns: tl.constexpr,
    block: tl.constexpr,
    at_once: tl.constexpr,
):
    """Take the sums of a row in the order of `SUMS`, and the extremes of each of its blocks."""
    row = tl.program_id(0).to(tl.int64)
    blocks: tl.constexpr = columns // block
    mean = tl.load(means + row)
    positive = tl.zeros([at_once, block], tl.float32)
    positive_logits = tl.zeros([at_once, block], tl.float32)
    negative = tl.zeros([at_once, block], tl.float32)
    negative_logits = tl.zeros([at_once, block], tl.float32)
    square = tl.zeros([at_once, block], tl.float32)
    cube = tl.zeros([at_once, block], tl.float32)
    fourth = tl.zeros([at_once, block], tl.float32)
    nearest = tl.full([at_once, block], float("-inf"), tl.float32)
    farthest = tl.full([at_once, block], float("inf"), tl.float32)
    for first in range(0, blocks, at_once):
        index = first + tl.arange(0, at_once)
        column = index[:, None] * block + tl.arange(0, block)[None, :]
        token = column < vocab
        z = tl.load(logits + row * columns + column, mask=token, other=0.0)
        high = tl.max(tl.where(token, z, float("-inf")), 1)
        low = tl.min(tl.where(token, z, float("inf")), 1)
        tl.store(largest + row * blocks + index, high, mask=index < blocks)
        tl.store(smallest + row * blocks + index, low, mask=index < blocks)
        # In units of ln 2, as exp2() takes it; 0 where there is no token adds to no power of c.
        c = tl.where(token, (z - mean) * 1.4426950408889634, 0.0)
        up = tl.where(token, tl.exp2(c), 0.0)
        down = tl.where(token, tl.exp2(-c), 0.0)
        squared = c * c
        positive += up
        positive_logits += up * c
        negative += down
        negative_logits += down * c
        square += squared
        cube += squared * c
        fourth += squared * squared
        cosine = z * tl.load(inverse_norms + column, mask=token, other=0.0)
        nearest = tl.maximum(nearest, tl.where(token, cosine, float("-inf")))
        farthest = tl.minimum(farthest, tl.where(token, cosine, float("inf")))
    place = sums + row
    tl.store(place, tl.sum(tl.sum(positive, 1), 0))
    tl.store(place + rows, tl.sum(tl.sum(positive_logits, 1), 0))
    tl.store(place + 2 * rows, tl.sum(tl.sum(negative, 1), 0))
    tl.store(place + 3 * rows, tl.sum(tl.sum(negative_logits, 1), 0))
    tl.store(place + 4 * rows, tl.sum(tl.sum(square, 1), 0))
    tl.store(place + 5 * rows, tl.sum(tl.sum(cube, 1), 0))
    tl.store(place + 6 * rows, tl.sum(tl.sum(fourth, 1), 0))
    tl.store(place + 7 * rows, tl.max(tl.max(nearest, 1), 0))
    tl.store(place + 8 * rows, tl.min(tl.min(farthest, 1), 0))
