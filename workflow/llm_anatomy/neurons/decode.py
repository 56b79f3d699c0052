"""Vectors to tokens through the LM head, streamed: the paper's `softmax(U w)` for every neuron.

    z = U w,   p(+1) = softmax(z),   p(-1) = softmax(-z)          (paper section 1; both poles)

A chunk of vectors meets the head tile by tile (`scan`). While a tile of logits is still in the
processor's cache, everything that is kept of it is taken: sums for the log-sum-exp, the entropy and
the moments, extreme cosines and the extreme logits; full distributions are never stored.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llm_anatomy.model.run.devices import kernels_run_on
from llm_anatomy.neurons.compiled_scan import CompiledScanner
from llm_anatomy.neurons.products import SplitHead
from llm_anatomy.neurons.scan import (
    LOG2_E,
    SAFE_EXPONENT,
    SUMS,
    Chunk,
    Scan,
    Scanner,
    TiledHead,
    TorchScanner,
)

TILE = {"cpu": 1024, "cuda": 1 << 15}
ROWS = {"cpu": 256, "cuda": 4096}
LOGITS_BYTES = 1 << 31
# Beyond it from the mean, sums of exp() over a vocabulary no longer fit float64.
WIDE_EXPONENT = 600.0
WIDE_ROWS = 64
TINY = torch.finfo(torch.float32).tiny


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
    """Decodes vectors through one LM head.

    Args:
        head: The LM head U, on the device that is to compute.
        top_k: Tokens to keep at each pole.
        screen: Find `2 * top_k` candidates in bfloat16, then rank them by float32 logits. Left out
            on a card with Triton, where float32 logits cost no more than bfloat16's.

    Raises:
        ValueError: `top_k` exceeds the vocabulary, or the head is not finite.
    """

    def __init__(
        self, head: Float[Tensor, "vocab d_model"], top_k: int, screen: bool = False
    ) -> None:
        self.vocab, self.d_model = head.shape
        # The margin needs a second token even where one is kept.
        self.count = max(top_k, 2)
        if self.count > self.vocab:
            raise ValueError(f"top_k is {top_k}, but the head has only {self.vocab} tokens")
        self.head = head.float()
        self.mean = self.head.mean(0, dtype=torch.float64)
        middle = self.mean.float()
        self.farthest = max(
            float((part - middle).norm(dim=1).max()) for part in self.head.split(4096)
        )
        if not math.isfinite(self.farthest):
            raise ValueError("the head holds numbers that are not finite")
        self.scanner, self.screen = _scanner(self.head, self.count, screen)

    def decode(self, vectors: Float[Tensor, "vectors d_model"]) -> Decoded:
        """Decode any number of vectors.

        Raises:
            ValueError: A vector is not finite.
        """
        chunks = vectors.split(self.scanner.rows)
        if self.head.is_cuda:
            return _concatenate([self._decode_chunk(chunk) for chunk in chunks])
        return _concatenate(_on_threads(self._decode_chunk, chunks))

    @torch.no_grad()
    def _decode_chunk(self, rows: Float[Tensor, "rows d_model"]) -> Decoded:
        vectors = rows.float()
        norm = vectors.norm(dim=1)
        if not norm.isfinite().all():
            raise ValueError("a vector holds numbers that are not finite")
        mean = vectors.double() @ self.mean
        # |z - mean| <= |w| max |u - mean u|: for most vectors no exponent needs to be looked at.
        safe = float(norm.max()) * self.farthest <= SAFE_EXPONENT
        chunk = Chunk(vectors, norm, mean, safe)
        scan = self.scanner.scan(chunk)
        sums = dict(zip(SUMS, scan.sums, strict=True))
        peaks = self._rescale_wide(chunk, scan, sums)
        square, cube, fourth = (
            sums[name] / self.vocab / LOG2_E**power
            for power, name in enumerate(("square", "cube", "fourth"), 2)
        )
        spread = square.sqrt()
        return Decoded(
            positive=self._pole(1, chunk, scan, sums, peaks),
            negative=self._pole(-1, chunk, scan, sums, peaks),
            mean=mean,
            std=spread,
            # A vector of zeros has no shape: 0 and the Gaussian's 3 rather than 0/0.
            skew=torch.where(spread > 0, cube / spread**3, 0.0),
            kurtosis=torch.where(spread > 0, fourth / square**2, 3.0),
            norm=norm,
        )

    def _rescale_wide(
        self, chunk: Chunk, scan: Scan, sums: dict[str, Tensor]
    ) -> Float[Tensor, "2 rows"]:
        """Sum exp(z - peak) anew where exp(z) is beyond float64; the peaks, 0 everywhere else."""
        peaks = torch.zeros_like(scan.sums[:2])
        above, below = scan.logits[0].amax(1) - chunk.mean, chunk.mean - scan.logits[1].amin(1)
        wide = torch.maximum(above, below) > WIDE_EXPONENT
        for rows in wide.nonzero()[:, 0].split(WIDE_ROWS):
            logits = (chunk.vectors[rows] @ self.head.T).double()
            for end, (name, sign) in enumerate((("positive", 1), ("negative", -1))):
                centred = sign * (logits - chunk.mean[rows, None])
                peaks[end, rows] = centred.amax(1)
                centred -= peaks[end, rows, None]
                power = centred.exp()
                sums[name][rows] = power.sum(1)
                sums[f"{name}_logits"][rows] = sign * (power * centred).sum(1) * LOG2_E
                # Screened logits of this size are off by more than one nat.
                scan.logits[end, rows] = logits.gather(1, scan.ids[end, rows]).float()
        return peaks

    def _pole(
        self, sign: int, chunk: Chunk, scan: Scan, sums: dict[str, Tensor], peaks: Tensor
    ) -> Pole:
        name, extreme, end = (
            ("positive", "largest", 0) if sign == 1 else ("negative", "smallest", 1)
        )
        total, weighted = sums[name], sign * sums[f"{name}_logits"] / LOG2_E
        # What the exponents of the sums are relative to.
        shift = sign * chunk.mean + peaks[end]
        candidates, logits = scan.ids[end], sign * scan.logits[end]
        if self.screen:
            screened = logits
            logits = sign * torch.bmm(self.head[candidates], chunk.vectors[:, :, None])[:, :, 0]
            # The largest terms of the sums are known exactly now: put them right.
            right, wrong = logits - shift[:, None], screened - shift[:, None]
            total = total + (right.exp() - wrong.exp()).sum(1)
            weighted = weighted + (right.exp() * right - wrong.exp() * wrong).sum(1)
        ids, logits = _ranked(candidates, logits, self.count)
        return Pole(
            ids=ids,
            logits=logits,
            logsumexp=total.log() + shift,
            entropy=total.log() - weighted / total,
            cosine=sign * sums[f"{extreme}_cosine"] / chunk.norm.clamp_min(TINY),
        )


def _scanner(head: Tensor, count: int, screen: bool) -> tuple[Scanner, bool]:
    """The fastest way to scan where the head lies, and whether it screens."""
    kind = "cuda" if head.is_cuda else "cpu"
    rows = max(1, min(ROWS[kind], LOGITS_BYTES // (4 * len(head))))
    if kernels_run_on(head):
        # Triton is imported where it runs alone.
        from llm_anatomy.neurons.fused_scan import FusedScanner

        return FusedScanner(SplitHead(head), rows, count), False
    candidates = min(2 * count, len(head)) if screen else count
    tiled = TiledHead(head, TILE[kind], screen)
    scanner = TorchScanner if head.is_cuda else CompiledScanner
    return scanner(tiled, rows, candidates), screen


def _ranked(ids: Tensor, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest logits in descending order; equal logits by token id."""
    by_id = ids.argsort(dim=1)
    ids, logits = ids.gather(1, by_id), logits.gather(1, by_id)
    order = logits.argsort(dim=1, descending=True, stable=True)[:, :count]
    return ids.gather(1, order), logits.gather(1, order)


def _concatenate(chunks: list[Decoded]) -> Decoded:
    def join(name: str) -> Tensor:
        return torch.cat([getattr(chunk, name) for chunk in chunks])

    def pole(name: str) -> Pole:
        poles = [getattr(chunk, name) for chunk in chunks]
        return Pole(*(torch.cat([getattr(p, f.name) for p in poles]) for f in fields(Pole)))

    rest = {f.name: join(f.name) for f in fields(Decoded) if f.name not in {"positive", "negative"}}
    return Decoded(positive=pole("positive"), negative=pole("negative"), **rest)


def _on_threads(decode: Callable[[Tensor], Decoded], chunks: Sequence[Tensor]) -> list[Decoded]:
    """The chunks decoded, in their order, whatever the number of threads.

    A thread decodes a chunk alone: nothing waits at the end of every small operation, and the
    bytes do not depend on how many threads there are.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [decode(chunk) for chunk in chunks]
    try:
        # Torch counts threads for every Python thread apart, but new ones start from the last
        # number set anywhere: hence the second line.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(decode, chunks))
    finally:
        torch.set_num_threads(threads)
