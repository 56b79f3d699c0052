"""What is measured, on any device: the product's way beside the plain work of the same numbers."""

from collections.abc import Sequence
from typing import Any

import torch
from llm_anatomy.config.facts import Attribution
from llm_anatomy.facts.importance import best_ffn_neurons, fact_of, ffn_coefficients, ffn_increase
from llm_anatomy.facts.readout import TargetToken
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.geometry.extraction import Request, partitions, read_activations
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.run.batching import Batch, text_batches
from llm_anatomy.neurons.decode import TILE, HeadDecoder
from torch import Tensor

from benchmarks.measure import Way

TOP_K = 10
LOOP = 32


def batches_of(decoder: Decoder, lengths: Sequence[int], budget: int) -> list[Batch]:
    """Random texts of some lengths, batched as the studies batch them on the decoder's device."""
    generator = torch.Generator().manual_seed(0)
    ids = [
        torch.randint(decoder.vocab_size, (length,), generator=generator).tolist()
        for length in lengths
    ]
    return list(text_batches(ids, budget, decoder.device))


def extraction_ways(
    decoder: Decoder, batches: Sequence[Batch], layers: int | None = None
) -> dict[str, Way]:
    """The plain pass, the extraction of a default run, and the features of the first layers."""
    planes = partitions(decoder)
    states = tuple(range(0, decoder.n_layers, max(1, decoder.n_layers // 4)))
    whole = Request(state_layers=states, attention_tokens="last")

    def plain() -> None:
        with torch.inference_mode():
            for batch in batches:
                decoder.body(input_ids=batch.input_ids, use_cache=False)

    def read(request: Request) -> None:
        for batch in batches:
            read_activations(decoder, planes, batch, request)

    ways: dict[str, Way] = {"plain": plain, "extraction": lambda: read(whole)}
    if layers is not None:
        ways["first_layers"] = lambda: read(Request(n_layers=layers))
    return ways


def map_ways(head: Tensor, vectors: Tensor) -> dict[str, Way]:
    """Both ends of every vector's logits; the multiply alone; the paper's loop over `LOOP` ones."""
    decoder = HeadDecoder(head, TOP_K)
    rows = decoder.scanner.rows
    on_card = head.is_cuda
    wide = vectors if on_card else vectors.float()
    rows_of_head = head if on_card else head.float()
    out = torch.empty(min(rows, len(vectors)), len(head), device=head.device)

    def multiply() -> None:
        for part in wide.split(rows):
            if on_card and part.dtype != torch.float32:
                torch.mm(part, rows_of_head.T, out_dtype=torch.float32, out=out[: len(part)])
            else:
                torch.mm(part, rows_of_head.T, out=out[: len(part)])

    def tiles() -> None:
        # A tile that stays in the cache is the best multiply on some processors.
        tile = TILE["cpu"]
        for part in wide.split(rows):
            for start in range(0, len(head), tile):
                columns = rows_of_head[start : start + tile]
                torch.mm(part, columns.T, out=out[: len(part), : len(columns)])

    def loop() -> None:
        for vector in wide[:LOOP]:
            (rows_of_head @ vector).float().softmax(0).topk(TOP_K)

    ways: dict[str, Way] = {
        "multiply": multiply,
        "map": lambda: decoder.decode(vectors),
        "loop": loop,
    }
    return ways if on_card else ways | {"multiply_tiles": tiles}


class FactWork:
    """Certified and exhaustive search for the best FFN neurons of one prompt's answer.

    Args:
        decoder: The model.
        prompt: Its tokens.
        target: The answer's first token.
        count: How many neurons are wanted.
        sampled: Neurons that the exhaustive way evaluates, in place of all of them.
    """

    def __init__(
        self, decoder: Decoder, prompt: list[int], target: int, count: int, sampled: int
    ) -> None:
        self.subvalues, self.target = Subvalues(decoder), TargetToken(target)
        ((_, self.recording),) = record_prompts(decoder, [prompt], 2048)
        self.count = count
        self.units = sum(self.subvalues.widths)
        self.sampled = min(sampled, self.units)
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(self.units, generator=generator)[: self.sampled]
        self.sample = chosen.to(decoder.device)

    def certified(self) -> Any:
        """A new fact each time: nothing that was computed before is reused."""
        return best_ffn_neurons(self._fact("certified"), self.count)

    def exhaustive(self) -> Any:
        """Every neuron."""
        return best_ffn_neurons(self._fact("exhaustive"), self.count)

    def exhaustive_sample(self) -> None:
        """The sampled neurons; the whole takes `units / sampled` times as long."""
        fact = self._fact("exhaustive")
        coefficients = ffn_coefficients(fact)
        for part in self.sample.split(256):
            ffn_increase(fact, coefficients, part)

    def identical(self) -> bool:
        """Whether both searches name the same neurons in the same order."""
        return bool(self.certified().units.tolist() == self.exhaustive().units.tolist())

    def _fact(self, search: str) -> Any:
        settings = Attribution(search=search)
        return fact_of(self.recording, self.target, self.subvalues, settings)
