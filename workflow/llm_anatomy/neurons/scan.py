"""One pass over the vocabulary: the logits of a chunk of vectors, tile by tile, and what is kept.

The plain form, for any device. On a CPU `compiled_scan` keeps the same in one loop over each tile.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 64
# exp2() is faster than exp(): logits are scaled on the way in, sums on the way out.
LOG2_E = math.log2(math.e)
# Within this range around the mean, c·2^c and c·2^-c of a whole tile of equal logits add up in
# float32: 2^101 · 101 · 2^15 tokens is 2^123, where its numbers end at 2^128.
SAFE_EXPONENT = 70.0
# What is summed over the vocabulary, with c the logit above its mean in units of ln 2. The last two
# are extremes rather than sums.
SUMS = (
    "positive",  # 2^c
    "positive_logits",  # c 2^c
    "negative",  # 2^-c
    "negative_logits",  # c 2^-c
    "square",
    "cube",
    "fourth",
    "largest_cosine",  # z / |u_t|
    "smallest_cosine",
)


@dataclass(frozen=True)
class Scan:
    """What is kept of the logits of a chunk of vectors.

    Attributes:
        sums: Over the vocabulary, in the order of `SUMS`, float64.
        ids: Tokens with the largest and with the smallest logits, in any order.
        logits: Their logits.
    """

    sums: Float[Tensor, "9 rows"]
    ids: Int[Tensor, "2 rows candidates"]
    logits: Float[Tensor, "2 rows candidates"]


@dataclass(frozen=True)
class Chunk:
    """Vectors that are scanned together, and what is known of their logits beforehand.

    Attributes:
        vectors: Float32.
        norm: Their Euclidean lengths.
        mean: Mean logit of every vector over the vocabulary, float64.
        safe: No logit is farther than `SAFE_EXPONENT` from its mean.
    """

    vectors: Float[Tensor, "rows d_model"]
    norm: Float[Tensor, " rows"]
    mean: Float[Tensor, " rows"]
    safe: bool


@runtime_checkable
class Scanner(Protocol):
    """A way to scan: `rows` vectors at once, of which `candidates` tokens are kept at each end."""

    rows: int
    candidates: int

    def scan(self, chunk: Chunk) -> Scan:
        """Scan a chunk of at most `self.rows` vectors."""
        ...


class TiledHead:
    """The rows of an LM head, a tile of tokens at a time.

    Args:
        head: Float32, on the device that computes.
        tile: Tokens per tile.
        screen: Multiply in bfloat16.
    """

    def __init__(self, head: Float[Tensor, "vocab d_model"], tile: int, screen: bool) -> None:
        self.vocab = len(head)
        # Whole blocks, so that a small vocabulary makes one tile.
        self.tile = min(tile, -(-self.vocab // BLOCK) * BLOCK)
        self.tiles = -(-self.vocab // self.tile)
        self.rows = head.bfloat16() if screen else head
        self.inverse_norms = inverse_norms(head)

    def tokens(self, index: int) -> slice:
        """The tokens of one tile."""
        return slice(index * self.tile, min((index + 1) * self.tile, self.vocab))

    def multiply(
        self, vectors: Float[Tensor, "rows d_model"], index: int, out: Float[Tensor, "rows tile"]
    ) -> int:
        """Write the logits of one tile; returns how many columns of `out` are tokens."""
        part = self.rows[self.tokens(index)]
        width = len(part)
        if part.dtype == vectors.dtype:
            torch.mm(vectors, part.T, out=out[:, :width])
        else:
            out[:, :width] = vectors.to(part.dtype) @ part.T
        return width


class TorchScanner:
    """Scans with torch alone.

    The k largest logits lie in the k blocks of 64 tokens with the largest maxima, so the exact top
    k is found by looking at k blocks only. One buffer of logits is reused throughout.

    Args:
        head: The head.
        rows: Vectors at once; the buffer holds all of their logits.
        candidates: Tokens to keep at each end.
    """

    def __init__(self, head: TiledHead, rows: int, candidates: int) -> None:
        self.head, self.rows, self.candidates = head, rows, candidates
        new = head.inverse_norms.new_empty
        self.logits = new(head.tiles, rows, head.tile)
        self.extremes = new(2, rows, head.tiles * head.tile // BLOCK)

    def scan(self, chunk: Chunk) -> Scan:
        """See `Scanner`."""
        rows, per_tile = len(chunk.vectors), self.head.tile // BLOCK
        sums = []
        for index in range(self.head.tiles):
            logits = self.logits[index, :rows]
            width = self.head.multiply(chunk.vectors, index, logits)
            for largest in (True, False):
                # Columns past the vocabulary must never win.
                logits[:, width:] = -torch.inf if largest else torch.inf
                blocks = logits.view(rows, per_tile, BLOCK)
                best = blocks.amax(2) if largest else blocks.amin(2)
                self.extremes[int(not largest), :rows].view(rows, -1, per_tile)[:, index] = best
            norms = self.head.inverse_norms[self.head.tokens(index)]
            sums.append(tile_sums(logits[:, :width], chunk.mean, norms, chunk.safe))
        largest_ids, largest_logits = self._candidates(rows, True)
        smallest_ids, smallest_logits = self._candidates(rows, False)
        return Scan(
            sums=add_tiles(sums),
            ids=torch.stack([largest_ids, smallest_ids]),
            logits=torch.stack([largest_logits, smallest_logits]),
        )

    def _candidates(self, rows: int, largest: bool) -> tuple[Tensor, Tensor]:
        """The extreme logits and their tokens, by way of the best blocks."""
        extremes = self.extremes[int(not largest), :rows]
        blocks = best_blocks(extremes, self.candidates, largest)
        per_tile = self.head.tile // BLOCK
        row = torch.arange(rows, device=blocks.device)[:, None]
        # Blocks lie one behind the other in the buffer, by tile, row and place in the tile.
        places = (blocks // per_tile * self.rows + row) * per_tile + blocks % per_tile
        inside = self.logits.view(-1, BLOCK).index_select(0, places.flatten())
        inside = inside.view(rows, -1, BLOCK)
        return best_inside(inside, blocks, self.head.vocab, self.candidates, largest)


def best_blocks(
    extremes: Float[Tensor, "rows blocks"], count: int, largest: bool
) -> Int[Tensor, "rows best"]:
    """The blocks in which a row's `count` extreme logits lie, in growing order.

    Args:
        extremes: Largest (smallest) logit of every block.
        count: Tokens that are wanted.
        largest: Whether the largest are, and not the smallest.
    """
    places = _largest_places(extremes if largest else -extremes, min(count, extremes.shape[1]))
    return places.sort(dim=1).values


def best_inside(
    logits: Float[Tensor, "rows best block"],
    blocks: Int[Tensor, "rows best"],
    vocab: int,
    count: int,
    largest: bool,
) -> tuple[Int[Tensor, "rows count"], Float[Tensor, "rows count"]]:
    """The `count` extreme logits of some blocks and their tokens; equal ones by token id.

    Args:
        logits: What stands in the blocks.
        blocks: Which blocks they are, in growing order.
        vocab: Columns from here on are no tokens.
        count: Tokens to find.
        largest: Whether the largest are wanted, and not the smallest.
    """
    block = logits.shape[2]
    tokens = (blocks[:, :, None] * block + torch.arange(block, device=blocks.device)).flatten(1)
    logits = logits.flatten(1)
    heights = (logits if largest else -logits).masked_fill(tokens >= vocab, -torch.inf)
    places = _largest_places(heights, count)
    return tokens.gather(1, places), logits.gather(1, places)


def _largest_places(values: Float[Tensor, "rows n"], count: int) -> Int[Tensor, "rows count"]:
    """Where the largest float32 values of every row stand; of equal ones the first.

    `topk` alone takes any of equal ones. Bits of floats, read as integers, have their order once
    those of negative ones are turned round; behind them, as lower bits, stands the place.
    """
    # Adding 0 makes -0 and 0 the same number.
    bits = (values + 0.0).view(torch.int32)
    order = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()
    places = torch.arange(values.shape[1], device=values.device)
    best: Tensor = ((order << 32) - places).topk(count, dim=1).indices
    return best


def inverse_norms(head: Float[Tensor, "vocab d_model"]) -> Float[Tensor, " vocab"]:
    """`1 / |u_t|` of every row; finite for rows of zeros."""
    lengths: Tensor = head.norm(dim=1)
    return 1 / lengths.clamp_min(torch.finfo(torch.float32).tiny)


def tile_sums(
    logits: Float[Tensor, "rows width"],
    mean: Float[Tensor, " rows"],
    inverse_norms: Float[Tensor, " width"],
    safe: bool,
) -> Float[Tensor, "9 rows"]:
    """The sums over one tile, in the order of `SUMS`, float64.

    Args:
        logits: `z = U w` for the tile's tokens.
        mean: Mean logit of every row over the whole vocabulary.
        inverse_norms: `1 / |u_t|`.
        safe: Whether the powers of 2 are known to fit float32; they are looked at otherwise.
    """
    centred = (logits - mean[:, None].to(logits.dtype)).mul_(LOG2_E)
    if not safe and float(centred.abs().max()) > LOG2_E * SAFE_EXPONENT:
        centred = centred.double()
    power = centred.exp2()
    sums = [power.sum(1), (power * centred).sum(1)]
    power.reciprocal_()
    sums += [power.sum(1), (power * centred).sum(1)]
    torch.mul(centred, centred, out=power)
    sums += [power.sum(1), (power * centred).sum(1), power.square_().sum(1)]
    torch.mul(logits, inverse_norms, out=power)
    return torch.stack([*sums, power.amax(1), power.amin(1)]).double()


def add_tiles(tiles: list[Float[Tensor, "9 rows"]]) -> Float[Tensor, "9 rows"]:
    """The sums over the vocabulary from those over its tiles."""
    stacked = torch.stack(tiles)
    total = stacked.sum(0)
    total[-2], total[-1] = stacked[:, -2].amax(0), stacked[:, -1].amin(0)
    return total
