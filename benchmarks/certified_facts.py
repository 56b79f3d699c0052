"""Certified against exhaustive search for a fact's most important FFN neurons, in one run.

    python benchmarks/certified_facts.py results/models/MODEL/provenance.json

Prints CPU seconds of both, their ratio, and whether neurons and values are the same.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.facts import Attribution
from llm_anatomy.facts.importance import best_ffn_neurons, fact_of
from llm_anatomy.facts.readout import TargetToken
from llm_anatomy.facts.record import record_prompts
from llm_anatomy.facts.search import Best
from llm_anatomy.facts.subvalues import Subvalues
from llm_anatomy.model.run.loading import load_model


def main() -> None:
    """Time both searches on one prompt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompt", default="The capital of France is")
    parser.add_argument("--answer", default=" Paris")
    parser.add_argument("--neurons", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    loaded = load_model(options.model, Precision(), Compute(threads=options.threads))
    torch.set_grad_enabled(False)
    decoder, tokenizer = loaded.decoder, loaded.tokenizer
    subvalues = Subvalues(decoder)
    ids = [tokenizer(options.prompt)["input_ids"]]
    ((_, recording),) = record_prompts(decoder, ids, 2048)
    target = TargetToken(tokenizer(options.answer, add_special_tokens=False)["input_ids"][0])

    def search(certify: bool) -> tuple[Best, float]:
        # A new object each time: nothing that was computed before is reused.
        settings = Attribution(search="certified" if certify else "exhaustive")
        fact = fact_of(recording, target, subvalues, settings)
        start = time.process_time()
        return best_ffn_neurons(fact, options.neurons), time.process_time() - start

    search(True)
    fast, seconds = min((search(True) for _ in range(5)), key=lambda found: found[1])
    slow, long = search(False)
    same = fast.units.tolist() == slow.units.tolist()
    difference = float((fast.values - slow.values).abs().max())
    sys.stdout.write(
        f"exhaustive: {long:.2f} CPU s, {slow.evaluated} neurons\n"
        f"certified:  {seconds:.3f} CPU s, {fast.evaluated} neurons, certified {fast.certified}\n"
        f"ratio {long / seconds:.0f}, same neurons {same}, largest difference {difference:.1e}\n"
    )


if __name__ == "__main__":
    main()
