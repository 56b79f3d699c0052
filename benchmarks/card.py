"""The product on one card, beside the plain work in the same run: `make bench-gpu`.

    python -m benchmarks.card --device cuda:0

Random weights of the shapes of Llama-3.1-8B; at most five minutes on one card. Writes
benchmarks/card.json and the card's table of docs/performance.md, with the card's name.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.proof import prove
from llm_anatomy.model.run.replay import Replay
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.measure import Row, document, in_turns, into_page, table, timed
from benchmarks.sweeps import naive_sweep, sweep_ways
from benchmarks.work import LOOP, FactWork, batches_of, extraction_ways, map_ways

PAGE, JSON = Path("docs/performance.md"), Path("benchmarks/card.json")


@dataclass(frozen=True)
class Size:
    """What is measured.

    Attributes:
        model: Shape of the model.
        short: Lengths of the short texts.
        long: Lengths of the long ones.
        budget: Padded tokens of one pass.
        sweep_tokens: Tokens of a prompt that is swept.
        examples: Prompts that are swept together.
        best: FFN neurons that are searched for.
    """

    model: dict[str, Any]
    short: list[int]
    long: list[int]
    budget: int
    sweep_tokens: int
    examples: int
    best: int


LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 700,
    "max_position_embeddings": 256,
}
SIZES = {
    "8b": Size(LLAMA_8B, [16 + 7 * i % 385 for i in range(600)], [1024] * 64, 16384, 20, 8, 100),
    "tiny": Size(TINY, [3 + i % 9 for i in range(12)], [40] * 4, 160, 6, 3, 10),
}


def main() -> None:
    """Measure, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="8b")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--repeats", type=int, default=5, help="turns of everything")
    parser.add_argument("--print-only", action="store_true", help="write no file")
    options = parser.parse_args()
    rows, machine = measure(SIZES[options.size], options.device, options.repeats)
    text = f"{machine['device']}, torch {machine['torch']}, {options.size}:\n\n{table(rows)}"
    sys.stdout.write(text + "\n")
    if not options.print_only:
        JSON.write_text(json.dumps(document(rows, machine), indent=1) + "\n", encoding="utf-8")
        into_page(PAGE, "card", text)


def measure(size: Size, device: str, repeats: int) -> tuple[list[Row], dict[str, object]]:
    """Every row, and what they were measured on."""
    torch.manual_seed(0)
    decoder = random_decoder(size.model, device)
    on_card = device != "cpu"
    machine: dict[str, object] = {
        "device": torch.cuda.get_device_name(device) if on_card else "CPU",
        "torch": torch.__version__,
    }
    with torch.no_grad():
        rows = [
            *map_rows(decoder, device, repeats),
            *text_rows("short texts", decoder, size.short, size.budget, device, repeats),
            *text_rows("long texts", decoder, size.long, size.budget, device, repeats),
            *sweep_rows(decoder, size, device, repeats),
            *fact_rows(decoder, size, device, repeats),
        ]
    if on_card:
        rows.append(Row("peak memory", torch.cuda.max_memory_allocated(device) / 1e9, "GB"))
    return rows, machine


def random_decoder(shape: dict[str, Any], device: str) -> Decoder:
    """A bfloat16 model of a shape, its weights drawn on the device."""
    config = LlamaConfig(**shape)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return prove(resolve(model.eval().requires_grad_(False)))


def map_rows(decoder: Decoder, device: str, repeats: int) -> list[Row]:
    """All up neurons of the model."""
    head = decoder.head.weight(torch.bfloat16)
    vectors = torch.cat([block.up.weight(torch.bfloat16) for block in decoder.blocks])
    found = in_turns(timed(map_ways(head, vectors), device), repeats)
    loop = found["loop"] / min(LOOP, len(vectors)) * len(vectors)
    best = min(found["multiply"], found.get("multiply_tiles", found["multiply"]))
    return [
        Row(f"map of {len(vectors):,} up neurons", found["map"], "s", 1.2, floor=f"{best:.3g} s"),
        Row("map: share of the multiply's rate", best / found["map"], "", floor="1"),
        Row("map: times the paper's loop", loop / found["map"], "times"),
    ]


def text_rows(
    name: str, decoder: Decoder, lengths: list[int], budget: int, device: str, repeats: int
) -> list[Row]:
    """Extraction of some texts."""
    batches = batches_of(decoder, lengths, budget)
    found = in_turns(timed(extraction_ways(decoder, batches), device), repeats)
    share = found["plain"] / found["extraction"]
    rate = sum(lengths) / found["extraction"]
    plain = f"{sum(lengths) / found['plain']:.3g} tokens/s"
    return [
        Row(f"extraction, {name}", rate, "tokens/s", floor=plain),
        Row(f"extraction, {name}: share of the plain pass", share, "", 0.85, False, "1"),
    ]


def sweep_rows(decoder: Decoder, size: Size, device: str, repeats: int) -> list[Row]:
    """Sweeps over all layers, by example."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(size.model["vocab_size"], (1, size.sweep_tokens), generator=generator)
    tokens = tokens.repeat(size.examples, 1)
    tokens[:, size.sweep_tokens // 2] = torch.arange(size.examples) + 5
    layers = range(decoder.n_layers)
    rows = []
    for name, (naive, fast) in sweep_ways(Replay(decoder), tokens.to(device)).items():
        ways = {"naive": lambda naive=naive: naive_sweep(naive, layers), "fast": fast}
        found = in_turns(timed(ways, device), repeats)
        share = found["fast"] / size.examples / found["naive"]
        rows.append(Row(f"sweep of {name}: share of the naive sweep", share, ""))
    return rows


def fact_rows(decoder: Decoder, size: Size, device: str, repeats: int) -> list[Row]:
    """The best FFN neurons of one answer."""
    prompt = list(range(7, 7 + size.sweep_tokens))
    work = FactWork(decoder, prompt, 42, size.best, sampled=1 << 14)
    ways = {"certified": work.certified, "sample": work.exhaustive_sample}
    found = in_turns(timed(ways, device), repeats)
    identical = work.identical()
    exhaustive = found["sample"] * work.units / work.sampled
    return [
        Row(f"certified top {size.best} of {work.units:,} neurons", found["certified"], "s"),
        Row("certified: times the exhaustive search", exhaustive / found["certified"], "times"),
        Row("certified: the same neurons", float(identical), "", 1, False),
    ]


if __name__ == "__main__":
    main()
