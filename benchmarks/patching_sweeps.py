"""Fast layer sweeps beside the naive one (a full forward pass with hooks per layer), in one run.

    python benchmarks/patching_sweeps.py results/models/smollm2-135m-instruct/provenance.json

Prints, for every manipulation, the time per example of both in CPU seconds, their ratio, and the
largest difference of their logits. The clean run and, for the switch, the donors' clean runs count
as part of the fast sweep. Timings of naive and fast sweeps alternate; medians are shown.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.model.run.readout import unembedding_of
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.patching import reference
from llm_anatomy.patching.clean import clean_run
from llm_anatomy.patching.fast import sweep_edit, sweep_freeze, sweep_skip
from llm_anatomy.patching.manipulations import Positions, RandomEdit, SwitchEdit
from torch import Tensor

SHOT = "The capital of Norway is Oslo. The capital of Peru is Lima. The capital of {} is"
# Countries with one token each in most tokenizers, so that all prompts have one length.
COUNTRIES = ("France", "Italy", "Germany", "Spain", "Japan", "China", "Russia", "Canada")

Timed = tuple[float, Tensor]


def main() -> None:
    """Parse the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="provenance.json of a prepared model")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each sweep")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = load_model(options.model, Precision(), Compute(threads=options.threads))
    prompts = [loaded.tokenizer(SHOT.format(country))["input_ids"] for country in COUNTRIES]
    length = len(prompts[0])
    tokens = torch.tensor([prompt for prompt in prompts if len(prompt) == length])
    with torch.no_grad():
        rows = measure(Replay(loaded.decoder), tokens, options.repeats)
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")


def measure(replay: Replay, tokens: Tensor, repeats: int) -> list[dict[str, object]]:
    """Time every manipulation both ways."""
    decoder, layers = replay.decoder, range(replay.decoder.n_layers)
    count, positions = len(tokens), Positions()
    names = tuple(str(row) for row in range(count))
    donors = tokens.roll(1, dims=0)
    # The token that differs between the prompts is the subject.
    place = int((tokens != donors).any(dim=0).nonzero()[0])
    span = (place, place + 1)

    def edit(kind: str, rows: int) -> RandomEdit:
        return RandomEdit(kind, 0, names[:rows], positions)

    def fast_switch() -> Tensor:
        states = torch.stack(clean_run(replay, donors).states[:-1])[:, :, place : place + 1]
        return sweep_edit(
            replay, clean_run(replay, tokens), layers, SwitchEdit(states, place)
        ).final

    one = tokens[:1]
    given = reference.donor_states(decoder, donors[:1], span)
    cases: dict[str, tuple[Callable[[int], Tensor], Callable[[], Tensor]]] = {
        "switch": (
            lambda k: reference.edited_logits(decoder, one, k, SwitchEdit(given, place)),
            fast_switch,
        ),
        "freeze": (
            lambda k: reference.frozen_logits(decoder, one, k, positions),
            lambda: sweep_freeze(replay, clean_run(replay, tokens), layers, positions).final,
        ),
        "skip": (
            lambda k: reference.skipped_logits(decoder, one, k, None),
            lambda: sweep_skip(replay, clean_run(replay, tokens), layers, None).final,
        ),
    } | {
        kind: (
            lambda k, kind=kind: reference.edited_logits(decoder, one, k, edit(kind, 1)),
            lambda kind=kind: (
                sweep_edit(replay, clean_run(replay, tokens), layers, edit(kind, count)).final
            ),
        )
        for kind in ("noise", "shuffle")
    }
    results = []
    for name, (naive, fast) in cases.items():
        naive_seconds, fast_seconds, difference = [], [], 0.0
        for _ in range(repeats):
            seconds, expected = _timed(lambda naive=naive: torch.cat([naive(k) for k in layers]))
            naive_seconds.append(seconds)
            seconds, final = _timed(lambda fast=fast: unembedding_of(decoder).logits(fast()))
            fast_seconds.append(seconds / count)
            difference = max(difference, float((final[::count] - expected).abs().max()))
        results.append(_row(name, tokens, naive_seconds, fast_seconds, difference))
    return results


def _row(
    name: str,
    tokens: Tensor,
    naive: Sequence[float],
    fast: Sequence[float],
    difference: float,
) -> dict[str, object]:
    slow, quick = statistics.median(naive), statistics.median(fast)
    return {
        "manipulation": name,
        "tokens": tokens.shape[1],
        "examples_per_batch": len(tokens),
        "naive_cpu_s_per_example": round(slow, 4),
        "fast_cpu_s_per_example": round(quick, 4),
        "ratio": round(quick / slow, 4),
        "largest_logit_difference": float(f"{difference:.2g}"),
    }


def _timed(function: Callable[[], Tensor]) -> Timed:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


if __name__ == "__main__":
    main()
