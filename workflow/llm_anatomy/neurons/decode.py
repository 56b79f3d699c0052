"""Vectors to tokens through the LM head, streamed: the paper's `softmax(U w)` for every neuron.

    z = U w,   p(+1) = softmax(z),   p(-1) = softmax(-z)          (paper section 1; both poles)

A chunk of vectors meets the head tile by tile. While a tile of logits is still in the processor's
cache, everything that is kept of it is taken: sums for the log-sum-exp, the entropy and the
moments, extreme cosines, and the largest and smallest logit of every block of 64 tokens. The k
largest logits lie in the k blocks with the largest maxima, so the exact top k is found by looking
at k blocks only. One buffer of logits is reused throughout; full distributions are never stored.
"""

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

    def _decode_chunk(self, vectors: Float[Tensor, "rows d_model"]) -> Decoded:
        rows = len(vectors)
        mean = (vectors.double() @ self.head_mean)[:, None]
        sums = _Sums.zeros(rows, vectors.device)
        low = vectors.bfloat16() if self.screened is not None else None
        for index in range(self.tiles):
            start = index * self.tile
            width = min(self.tile, self.vocab - start)
            logits = self.logits[index, :rows]
            if self.screened is not None and self.rounded is not None and low is not None:
                rounded = self.rounded[:rows, :width]
                torch.mm(low, self.screened[start : start + width].T, out=rounded)
                logits[:, :width] = rounded
            else:
                torch.mm(vectors, self.head[start : start + width].T, out=logits[:, :width])
            self._take_extremes(logits, index, width)
            self._take_sums(logits[:, :width], start, mean, sums)
        norm = vectors.norm(dim=1)
        negative = self._pole(vectors, -1, mean, sums, norm)
        positive = self._pole(vectors, 1, mean, sums, norm)
        variance = sums.square / self.vocab
        spread = variance.sqrt()
        return Decoded(
            positive=positive,
            negative=negative,
            mean=mean[:, 0],
            std=spread,
            # A vector of zeros has no shape: 0 and the Gaussian's 3 rather than 0/0.
            skew=torch.where(spread > 0, sums.cube / self.vocab / spread**3, 0.0),
            kurtosis=torch.where(spread > 0, sums.fourth / self.vocab / variance**2, 3.0),
            norm=norm,
        )

    def _take_extremes(self, logits: Tensor, index: int, width: int) -> None:
        """Largest and smallest logit of every block of the tile."""
        rows, blocks = len(logits), self.tile // BLOCK
        columns = slice(index * blocks, (index + 1) * blocks)
        view = logits.view(rows, blocks, BLOCK)
        # Columns past the vocabulary must never win. The last value set stays in the buffer: the
        # negative pole is read first, then `_pole` turns the padding around.
        logits[:, width:] = -torch.inf
        torch.amax(view, 2, out=self.extremes[0, :rows, columns])
        logits[:, width:] = torch.inf
        torch.amin(view, 2, out=self.extremes[1, :rows, columns])

    def _take_sums(self, logits: Tensor, start: int, mean: Tensor, sums: "_Sums") -> None:
        rows, width = logits.shape
        centred, other, product = self.work[:, :rows, :width]
        torch.sub(logits, mean.float(), out=centred)
        columns = slice(start // BLOCK, -(-(start + width) // BLOCK))
        largest = (self.extremes[0, :rows, columns].amax() - mean.min()).abs()
        smallest = (self.extremes[1, :rows, columns].amin() - mean.max()).abs()
        if max(float(largest), float(smallest)) > SAFE_EXPONENT:
            centred, other, product = (part.double() for part in (centred, other, product))
        torch.exp(centred, out=other)
        sums.positive += other.sum(1)
        sums.positive_logits += torch.mul(other, centred, out=product).sum(1)
        torch.reciprocal(other, out=other)
        sums.negative += other.sum(1)
        sums.negative_logits -= torch.mul(other, centred, out=product).sum(1)
        torch.mul(centred, centred, out=other)
        sums.square += other.sum(1)
        sums.cube += torch.mul(other, centred, out=product).sum(1)
        sums.fourth += torch.mul(other, other, out=product).sum(1)
        torch.mul(logits, self.inverse_norms[start : start + width], out=other)
        sums.largest = torch.maximum(sums.largest, other.amax(1))
        sums.smallest = torch.minimum(sums.smallest, other.amin(1))

    def _pole(self, vectors: Tensor, sign: int, mean: Tensor, sums: "_Sums", norm: Tensor) -> Pole:
        rows = len(vectors)
        pad = self.vocab - (self.tiles - 1) * self.tile
        self.logits[-1, :rows, pad:] = -sign * torch.inf
        screened, ids = self._candidates(rows, sign)
        logits = screened
        total = sums.positive if sign == 1 else sums.negative
        weighted = sums.positive_logits if sign == 1 else sums.negative_logits
        shift = sign * mean
        if self.screened is not None:
            logits = sign * torch.bmm(self.head[ids], vectors[:, :, None])[:, :, 0]
            # The largest terms of the sums are known exactly now: put them right.
            exact, rounded = (logits - shift).exp(), (screened - shift).exp()
            total = total + (exact - rounded).sum(1)
            weighted = weighted + (exact * (logits - shift) - rounded * (screened - shift)).sum(1)
        ids, logits = _ranked(ids, logits, self.kept)
        largest = (sums.largest if sign == 1 else -sums.smallest) / norm.clamp_min(
            torch.finfo(torch.float32).tiny
        )
        return Pole(
            ids=ids,
            logits=logits,
            logsumexp=total.log() + shift[:, 0],
            entropy=total.log() - weighted / total,
            cosine=largest,
        )

    def _candidates(self, rows: int, sign: int) -> tuple[Tensor, Tensor]:
        """The extreme logits (times `sign`) and their tokens, by way of the best blocks."""
        extremes = sign * self.extremes[0 if sign == 1 else 1, :rows]
        count = min(self.candidates, extremes.shape[1])
        blocks = extremes.topk(count, dim=1, sorted=False).indices
        per_tile = self.tile // BLOCK
        view = self.logits.view(self.tiles, self.rows, per_tile, BLOCK)
        row = torch.arange(rows, device=blocks.device)[:, None]
        inside = sign * view[blocks // per_tile, row, blocks % per_tile].view(rows, -1)
        values, places = inside.topk(self.candidates, dim=1)
        ids = blocks.gather(1, places // BLOCK) * BLOCK + places % BLOCK
        return values, ids


@dataclass
class _Sums:
    """Running sums over the tiles, float64; exponents are relative to the mean logit."""

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
    def zeros(cls, rows: int, device: torch.device) -> "_Sums":
        zeros = [torch.zeros(rows, dtype=torch.float64, device=device) for _ in fields(cls)]
        sums = cls(*zeros)
        sums.largest.fill_(-torch.inf)
        sums.smallest.fill_(torch.inf)
        return sums


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
