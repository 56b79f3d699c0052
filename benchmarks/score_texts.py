r"""What scoring texts with a saved detector costs, beside the plain forward pass over them.

    python benchmarks/score_texts.py --texts texts.txt --count 1000 \
        --detector results/toxicity/MODEL/DATASET/detector.safetensors \
        --model results/models/MODEL/provenance.json

`texts.txt` holds one text per line. Both ways tokenise the texts and run the same batches; plain is
the model's body without its language-model head, nothing read from it. They take turns, so that
other work on the machine weighs on both alike. Trust the ratio, not the times.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.model.run.batching import encode, equal_length_batches
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.toxicity.detector import Detector, check_model, load_detector
from llm_anatomy.toxicity.scoring import score_texts


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", type=Path, required=True, help="detector.safetensors")
    parser.add_argument("--model", type=Path, required=True, help="its model's provenance.json")
    parser.add_argument("--texts", type=Path, required=True, help="one text per line")
    parser.add_argument("--count", type=int, default=1000, help="texts to score")
    parser.add_argument("--repeats", type=int, default=3, help="turns of both")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="tokens of one pass")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    detector = load_detector(arguments.detector)
    check_model(detector, json.loads(arguments.model.read_text()), arguments.detector)
    features = detector.description["provenance"]
    compute = Compute(device=arguments.device, threads=arguments.threads)
    loaded = load_model(arguments.model, Precision(dtype=features["dtype"]), compute)
    texts = arguments.texts.read_text(encoding="utf-8").splitlines()[: arguments.count]
    longest = int(features["extraction"]["max_length"])
    budget = arguments.batch_tokens
    ways = {
        "plain": partial(_plain, loaded, longest, budget),
        "scored": partial(_scored, loaded, detector, budget),
    }
    for way in ways.values():
        # The first pass of a model pays for what later ones find ready.
        way(texts[:8])
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            seconds[name].append(_seconds(partial(way, texts), arguments.device))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    tokens = sum(len(ids) for ids in encode(loaded.tokenizer, texts, longest).ids)
    report = {
        "texts": len(texts),
        "tokens": tokens,
        "threads": arguments.threads,
        "device": arguments.device,
        "seconds": seconds,
        "milliseconds_per_text": 1000 * medians["scored"] / len(texts),
        "share_of_plain": medians["scored"] / medians["plain"],
    }
    json.dump(report, sys.stdout, indent=1)
    sys.stdout.write("\n")


def _plain(loaded: LoadedModel, longest: int, budget: int, texts: list[str]) -> None:
    ids = [row for row in encode(loaded.tokenizer, texts, longest).ids if row]
    with torch.inference_mode():
        for batch in equal_length_batches(ids, budget, device=loaded.decoder.device):
            loaded.decoder.body(input_ids=batch.input_ids, use_cache=False)


def _scored(loaded: LoadedModel, detector: Detector, budget: int, texts: list[str]) -> None:
    score_texts(loaded, detector, texts, budget)


def _seconds(run: Callable[[], None], device: str) -> float:
    """Seconds of a run: processor time on a CPU, which other work distorts least."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


if __name__ == "__main__":
    main()
