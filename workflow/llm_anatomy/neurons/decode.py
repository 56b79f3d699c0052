"""Vectors to tokens through the LM head, streamed: the paper's `softmax(U w)` for every neuron.

    z = U w,   p(+1) = softmax(z),   p(-1) = softmax(-z)          (paper section 1; both poles)

A chunk of vectors meets the head tile by tile. While a tile of logits is still in the processor's
cache, everything that is kept of it is taken: sums for the log-sum-exp, the entropy and the
moments, extreme cosines, and the largest and smallest logit of every block of 64 tokens. The k
largest logits lie in the k blocks with the largest maxima, so the exact top k is found by looking
at k blocks only. One buffer of logits is reused throughout; full distributions are never stored.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 64
LOGITS_BYTES = {"cpu": 1 << 27, "cuda": 1 << 31}
TILE = {"cpu": 1024, "cuda": 1 << 15}
MAX_ROWS = {"cpu": 512, "cuda": 4096}
# exp() and its reciprocal both stay normal float32 numbers within this range around the mean.
SAFE_EXPONENT = 80.0
# exp2() is faster than exp(): logits are scaled on the way in, sums on the way out.
LOG2_E = math.log2(math.e)


@dataclass(frozen=True)
class Pole:
    """What one sign of the vectors decodes to.

    Attributes:
        ids: Tokens, most probable first.
        logits: Their logits `sign * u_t . w`, descending.
        logsumexp: Of `sign * z` over the vocabulary.
        entropy: Of `softmax(sign * z)`, nats.
        cosine: Largest `sign * cos(w, u_t)` over the vocabulary.
    """

    ids: Int[Tensor, "vectors k"]
    logits: Float[Tensor, "vectors k"]
    logsumexp: Float[Tensor, " vectors"]
    entropy: Float[Tensor, " vectors"]
    cosine: Float[Tensor, " vectors"]

    @property
    def probabilities(self) -> Float[Tensor, "vectors k"]:
        """`softmax(sign * z)` at `ids`."""
        return (self.logits.double() - self.logsumexp[:, None]).exp()

    @property
    def margin(self) -> Float[Tensor, " vectors"]:
        """Logit of the top token minus that of the second."""
        return self.logits[:, 0] - self.logits[:, 1]


@dataclass(frozen=True)
class Decoded:
    """Both poles of vectors and the shape of their logits' distribution over the vocabulary.

    Attributes:
        positive: The tokens that the vectors point to.
        negative: The tokens that they point away from.
        mean: Mean logit; `std`, `skew` and `kurtosis` (3 for a Gaussian) likewise.
        norm: Euclidean length of the vectors as decoded.
    """

    positive: Pole
    negative: Pole
    mean: Float[Tensor, " vectors"]
    std: Float[Tensor, " vectors"]
    skew: Float[Tensor, " vectors"]
    kurtosis: Float[Tensor, " vectors"]
    norm: Float[Tensor, " vectors"]


class HeadDecoder:
    """Decodes vectors through one LM head, with buffers that are made once.

    Args:
        head: The LM head U, on the device that is to compute.
        top_k: Tokens to keep at each pole.
        screen: Find `2 * top_k` candidates in bfloat16, then rank them by float32 logits.

    Raises:
        ValueError: `top_k` exceeds the vocabulary.
    """

    def __init__(
        self, head: Float[Tensor, "vocab d_model"], top_k: int, screen: bool = False
    ) -> None:
        self.vocab, self.d_model = head.shape
        self.top_k = top_k
        # The margin needs a second token even where one is kept.
        self.kept = max(top_k, 2)
        if self.kept > self.vocab:
            raise ValueError(f"top_k is {top_k}, but the head has only {self.vocab} tokens")
        kind = "cuda" if head.is_cuda else "cpu"
        padded = -(-self.vocab // BLOCK) * BLOCK
        self.tile = min(TILE[kind], padded)
        self.tiles = -(-self.vocab // self.tile)
        budget = LOGITS_BYTES[kind] // (4 * self.tiles * self.tile)
        self.rows = max(1, min(MAX_ROWS[kind], budget))
        self.head = head.float()
        self.inverse_norms = 1 / self.head.norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        self.head_mean = self.head.double().mean(0)
        self.farthest = float((self.head - self.head_mean.float()).norm(dim=1).max())
        self.screened = self.head.bfloat16() if screen else None
        self.candidates = min(2 * self.kept, self.vocab) if screen else self.kept
        new = self.head.new_empty
        self.logits = new(self.tiles, self.rows, self.tile)
        self.work = new(3, self.rows, self.tile)
        self.rounded = new(self.rows, self.tile, dtype=torch.bfloat16) if screen else None
        blocks = self.tiles * self.tile // BLOCK
        self.extremes = new(2, self.rows, blocks)

    @torch.no_grad()
    def decode(self, vectors: Float[Tensor, "vectors d_model"]) -> Decoded:
        """Decode any number of vectors."""
        chunks = [self._decode_chunk(chunk.float()) for chunk in vectors.split(self.rows)]
        return _concatenate(chunks)

    @torch.no_grad()
    def top_ids(self, vectors: Float[Tensor, "vectors d_model"]) -> Int[Tensor, "vectors k"]:
        """Tokens of the positive pole alone, as `decode` has them, at a lower cost."""
        found = []
        for chunk in vectors.split(self.rows):
            rows = chunk.float()
            for index in range(self.tiles):
                logits, width = self._multiply(rows, index)
                self._take_extremes(logits, index, width, 1)
            found.append(self._ranked_candidates(rows, 1)[0])
        return torch.cat(found)

    def _decode_chunk(self, vectors: Float[Tensor, "rows d_model"]) -> Decoded:
        rows = len(vectors)
        norm = vectors.norm(dim=1)
        mean = (vectors.double() @ self.head_mean)[:, None]
        sums = _Sums.zeros(self.tiles, rows, vectors.device)
        # |z - mean| <= |w| max |u - mean u|: for most vectors no exponent needs to be looked at.
        safe = float(norm.max()) * self.farthest <= SAFE_EXPONENT
        for index in range(self.tiles):
            logits, width = self._multiply(vectors, index)
            self._take_extremes(logits, index, width, 1)
            # The last padding stays in the buffer, for `_pole` reads the negative pole first.
            self._take_extremes(logits, index, width, -1)
            self._take_sums(logits[:, :width], index, mean, sums, safe)
        negative = self._pole(vectors, -1, mean, sums, norm)
        positive = self._pole(vectors, 1, mean, sums, norm)
        square, cube, fourth = (
            part.sum(0) / self.vocab / LOG2_E**power
            for power, part in enumerate((sums.square, sums.cube, sums.fourth), 2)
        )
        spread = square.sqrt()
        return Decoded(
            positive=positive,
            negative=negative,
            mean=mean[:, 0],
            std=spread,
            # A vector of zeros has no shape: 0 and the Gaussian's 3 rather than 0/0.
            skew=torch.where(spread > 0, cube / spread**3, 0.0),
            kurtosis=torch.where(spread > 0, fourth / square**2, 3.0),
            norm=norm,
        )

    def _multiply(self, vectors: Tensor, index: int) -> tuple[Tensor, int]:
        """Logits of one tile, in the buffer, and how many of its columns are tokens."""
        rows, start = len(vectors), index * self.tile
        width = min(self.tile, self.vocab - start)
        logits = self.logits[index, :rows]
        if self.screened is not None and self.rounded is not None:
            rounded = self.rounded[:rows, :width]
            torch.mm(vectors.bfloat16(), self.screened[start : start + width].T, out=rounded)
            logits[:, :width] = rounded
        else:
            torch.mm(vectors, self.head[start : start + width].T, out=logits[:, :width])
        return logits, width

    def _take_extremes(self, logits: Tensor, index: int, width: int, sign: int) -> None:
        """Largest or smallest logit of every block of the tile."""
        rows, blocks = len(logits), self.tile // BLOCK
        columns = slice(index * blocks, (index + 1) * blocks)
        # Columns past the vocabulary must never win.
        logits[:, width:] = -sign * torch.inf
        reduce = torch.amax if sign == 1 else torch.amin
        out = self.extremes[0 if sign == 1 else 1, :rows, columns]
        reduce(logits.view(rows, blocks, BLOCK), 2, out=out)

    def _take_sums(
        self, logits: Tensor, index: int, mean: Tensor, sums: "_Sums", safe: bool
    ) -> None:
        rows, width = logits.shape
        start = index * self.tile
        centred, other, product = self.work[:, :rows, :width]
        torch.add(-LOG2_E * mean.float(), logits, alpha=LOG2_E, out=centred)
        if not safe and float(centred.abs().max()) > LOG2_E * SAFE_EXPONENT:
            centred, other, product = (part.double() for part in (centred, other, product))
        torch.exp2(centred, out=other)
        sums.positive[index] = other.sum(1)
        sums.positive_logits[index] = torch.mul(other, centred, out=product).sum(1)
        torch.reciprocal(other, out=other)
        sums.negative[index] = other.sum(1)
        sums.negative_logits[index] = torch.mul(other, centred, out=product).sum(1)
        torch.mul(centred, centred, out=other)
        sums.square[index] = other.sum(1)
        sums.cube[index] = torch.mul(other, centred, out=product).sum(1)
        sums.fourth[index] = torch.linalg.vector_norm(other, dim=1).double() ** 2
        torch.mul(logits, self.inverse_norms[start : start + width], out=other)
        sums.largest[index] = other.amax(1)
        sums.smallest[index] = other.amin(1)

    def _pole(self, vectors: Tensor, sign: int, mean: Tensor, sums: "_Sums", norm: Tensor) -> Pole:
        total = (sums.positive if sign == 1 else sums.negative).sum(0)
        weighted = sums.positive_logits if sign == 1 else sums.negative_logits
        weighted = sign * weighted.sum(0) / LOG2_E
        shift = sign * mean
        ids, logits, exact, screened = self._ranked_candidates(vectors, sign)
        if self.screened is not None:
            # The largest terms of the sums are known exactly now: put them right.
            exact, screened = exact - shift, screened - shift
            total = total + (exact.exp() - screened.exp()).sum(1)
            weighted = weighted + (exact.exp() * exact - screened.exp() * screened).sum(1)
        largest = sums.largest.amax(0) if sign == 1 else -sums.smallest.amin(0)
        return Pole(
            ids=ids,
            logits=logits,
            logsumexp=total.log() + shift[:, 0],
            entropy=total.log() - weighted / total,
            cosine=largest / norm.clamp_min(torch.finfo(torch.float32).tiny),
        )

    def _ranked_candidates(
        self, vectors: Tensor, sign: int
    ) -> tuple[
        Int[Tensor, "rows k"],
        Float[Tensor, "rows k"],
        Float[Tensor, "rows candidates"],
        Float[Tensor, "rows candidates"],
    ]:
        """The top tokens with their logits (times `sign`); all candidates' logits, two ways.

        The two ways are float32 and as screened; without screening they are the same.
        """
        rows = len(vectors)
        self.logits[-1, :rows, self.vocab - (self.tiles - 1) * self.tile :] = -sign * torch.inf
        screened, candidates = self._candidates(rows, sign)
        exact = screened
        if self.screened is not None:
            exact = sign * torch.bmm(self.head[candidates], vectors[:, :, None])[:, :, 0]
        ids, logits = _ranked(candidates, exact, self.kept)
        return ids, logits, exact, screened

    def _candidates(self, rows: int, sign: int) -> tuple[Tensor, Tensor]:
        """The extreme logits (times `sign`) and their tokens, by way of the best blocks."""
        largest = sign == 1
        extremes = self.extremes[0 if largest else 1, :rows]
        count = min(self.candidates, extremes.shape[1])
        blocks = extremes.topk(count, dim=1, largest=largest, sorted=False).indices
        per_tile = self.tile // BLOCK
        row = torch.arange(rows, device=blocks.device)[:, None]
        # Blocks lie one behind the other in the buffer, by tile, row and place in the tile.
        places = (blocks // per_tile * self.rows + row) * per_tile + blocks % per_tile
        inside = self.logits.view(-1, BLOCK).index_select(0, places.flatten()).view(rows, -1)
        values, places = inside.topk(self.candidates, dim=1, largest=largest)
        ids = blocks.gather(1, places // BLOCK) * BLOCK + places % BLOCK
        return sign * values, ids


@dataclass
class _Sums:
    """Sums of every tile, float64, [tiles, rows]; logits are centred and in units of ln 2."""

    positive: Tensor
    positive_logits: Tensor
    negative: Tensor
    negative_logits: Tensor
    square: Tensor
    cube: Tensor
    fourth: Tensor
    largest: Tensor
    smallest: Tensor

    @classmethod
    def zeros(cls, tiles: int, rows: int, device: torch.device) -> "_Sums":
        each = torch.zeros(len(fields(cls)), tiles, rows, dtype=torch.float64, device=device)
        return cls(*each)


def _ranked(ids: Tensor, logits: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """The `kept` largest logits in descending order; equal logits by token id."""
    by_id = ids.argsort(dim=1)
    ids, logits = ids.gather(1, by_id), logits.gather(1, by_id)
    order = logits.argsort(dim=1, descending=True, stable=True)[:, :kept]
    return ids.gather(1, order), logits.gather(1, order)


def _concatenate(chunks: list[Decoded]) -> Decoded:
    def join(name: str) -> Tensor:
        return torch.cat([getattr(chunk, name) for chunk in chunks])

    def pole(name: str) -> Pole:
        poles = [getattr(chunk, name) for chunk in chunks]
        return Pole(*(torch.cat([getattr(p, f.name) for p in poles]) for f in fields(Pole)))

    rest = {f.name: join(f.name) for f in fields(Decoded) if f.name not in {"positive", "negative"}}
    return Decoded(positive=pole("positive"), negative=pole("negative"), **rest)
