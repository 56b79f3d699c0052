"""The product beside the plain work and beside its peers, on one CPU thread: `make bench`.

    python -m benchmarks.side_by_side results/models/MODEL/provenance.json --peers .bench

All ways of a figure take turns, and figures are ratios of medians of processor time: other work on
the machine weighs on all alike. Peers run in environments of their own (`peer.py`); without them
their rows are left out. Writes benchmarks/cpu.json and the table of docs/performance.md.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.toxicity.detector import load_detector
from llm_anatomy.toxicity.scoring import score_texts
from torch import Tensor

from benchmarks import measure
from benchmarks.measure import Row, document, exponent, in_turns, into_page, seconds, table, timed
from benchmarks.sweeps import naive_sweep, sweep_ways
from benchmarks.work import FactWork, batches_of, extraction_ways, map_ways

PAGE, JSON = Path("docs/performance.md"), Path("benchmarks/cpu.json")
PEERS = ("transformer_lens", "nnsight")
FIRST_LAYERS = 3
SWEEP_GOALS = {"switch": 0.10, "freeze": 0.08, "skip": 0.05, "noise": 0.25, "shuffle": 0.25}
SWEEP_FLOORS = {
    "switch": "positions behind the subject, at each k, of the layers above",
    "freeze": "keys and values of the layers above",
    "skip": "one position's MLPs",
    "noise": "every position of the layers above, at each k: half of the naive sweep's products",
    "shuffle": "as for noise",
}
SHOT = "The capital of Norway is Oslo. The capital of Peru is Lima. The capital of {} is"
COUNTRIES = ("France", "Italy", "Germany", "Spain", "Japan", "China", "Russia", "Canada")

PeerWay = Callable[[], float]


@dataclass(frozen=True)
class Size:
    """What is measured: turns, lengths of texts, vectors, layers of the naive sweep, and so on."""

    repeats: int
    lengths: list[int]
    vectors: int
    naive_every: int
    examples: int
    sampled: int
    scored: int
    grown: list[int]


FULL = Size(5, [24 + 3 * i for i in range(16)], 512, 6, 4, 1024, 48, [1, 2, 4, 8])
QUICK = Size(1, [8, 12, 16], 64, 15, 2, 256, 4, [1, 2])


def main() -> None:
    """Measure, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="provenance.json of a prepared model")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments")
    parser.add_argument("--detector", type=Path, help="detector.safetensors of the same model")
    parser.add_argument("--quick", action="store_true", help="one turn of little; writes no file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    loaded = load_model(options.model, Precision(), Compute(threads=1))
    size = QUICK if options.quick else FULL
    rows = measure_all(loaded, options.model, size, options.peers, options.detector)
    machine = {
        "model": loaded.provenance["model"],
        "processor": _processor(),
        "threads": 1,
        "torch": torch.__version__,
        "turns": size.repeats,
    }
    text = f"{machine['model']}, one thread of {machine['processor']}, torch {torch.__version__}, "
    text += f"medians of {size.repeats} turns:\n\n{table(rows)}"
    sys.stdout.write(text + "\n")
    if not options.quick:
        JSON.write_text(json.dumps(document(rows, machine), indent=1) + "\n", encoding="utf-8")
        into_page(PAGE, "cpu", text)


def measure_all(
    loaded: LoadedModel, model: Path, size: Size, peers: Path | None, detector: Path | None
) -> list[Row]:
    """Every row."""
    decoder = loaded.decoder
    generator = torch.Generator().manual_seed(0)
    vectors = decoder.blocks[0].up.weight(torch.float32)
    vectors = vectors[torch.randperm(len(vectors), generator=generator)[: size.vectors]]
    prompts = [loaded.tokenizer(SHOT.format(country))["input_ids"] for country in COUNTRIES]
    prompts = [prompt for prompt in prompts if len(prompt) == len(prompts[0])]
    tokens = torch.tensor(prompts[: size.examples])
    batches = batches_of(decoder, size.lengths, 2048)
    donors = tokens.roll(1, dims=0)
    work = {
        "batches": [batch.input_ids for batch in batches],
        "vectors": vectors,
        "tokens": tokens,
        "donors": donors,
        "place": (tokens != donors).any(dim=0).nonzero()[0, 0],
    }
    with ExitStack() as stack:
        found: dict[str, PeerWay] = {}
        for name in PEERS if peers is not None else ():
            found |= stack.enter_context(peer(name, peers, model.parent / "weights", work))
        return [
            *text_rows(loaded, size, found),
            *map_rows(loaded, vectors, size, found),
            *sweep_rows(Replay(decoder), tokens, size, found),
            *fact_rows(loaded, tokens[0].tolist(), size),
            *scoring_rows(loaded, detector, size),
            *growth_rows(loaded, vectors, tokens[0].tolist(), size),
        ]


@contextmanager
def peer(
    name: str, folder: Path, weights: Path, work: dict[str, object]
) -> Iterator[dict[str, PeerWay]]:
    """A peer's ways; none where its environment is not there or cannot run them."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        sys.stderr.write(f"{python} is missing: the rows of {name} are left out\n")
        yield {}
        return
    with tempfile.TemporaryDirectory() as place:
        handed, log = Path(place, "work.pt"), Path(place, "log")
        torch.save(work, handed)
        script = str(Path(__file__).with_name("peer.py"))
        command = [str(python), script, name, str(weights.resolve()), str(handed)]
        with (
            log.open("w") as errors,
            subprocess.Popen(
                command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            asked, answers = process.stdin, process.stdout

            def ask(way: str) -> float:
                asked.write(f"{way}\n")
                asked.flush()
                answer = answers.readline()
                if not answer:
                    raise SystemExit(f"{name} failed at {way}:\n{log.read_text()[-2000:]}")
                return float(answer)

            ready = answers.readline().split()
            if not ready:
                sys.stderr.write(f"{name} cannot run:\n{log.read_text()[-2000:]}\n")
            yield {way: partial(ask, way) for way in ready[1:]}
            asked.close()


def text_rows(loaded: LoadedModel, size: Size, peers: dict[str, PeerWay]) -> list[Row]:
    """Extraction beside the plain pass, the first layers' pass, and the peers' ways."""
    decoder = loaded.decoder
    batches = batches_of(decoder, size.lengths, 2048)
    ways = timed(extraction_ways(decoder, batches, FIRST_LAYERS))
    ways |= {name: peers[name] for name in ("run_with_cache", "trace") if name in peers}
    measure.forget_peak()
    found = in_turns(ways, size.repeats)
    layers = decoder.n_layers
    rows = [
        Row(
            f"extraction, {len(size.lengths)} texts of {sum(size.lengths)} tokens: share of the "
            "plain pass's rate",
            found["plain"] / found["extraction"],
            "",
            0.90,
            False,
            "1",
            "the token statistics read every pre-activation twice, and each text's last token's "
            "attention is computed a second time in every layer",
        ),
        Row(
            f"features of the first {FIRST_LAYERS} layers: share of the plain pass's time",
            found["first_layers"] / found["plain"],
            "",
            round((FIRST_LAYERS + 1) / layers, 3),
            floor=f"{FIRST_LAYERS / layers:.3f}",
            why="embedding and statistics do not shrink with the number of layers",
        ),
        Row("peak memory of these passes", measure.peak_mb(), "MB"),
    ]
    if "run_with_cache" in found:
        times = found["run_with_cache"] / found["extraction"]
        rows.append(Row("TransformerLens' `run_with_cache` of the same layers", times, "times"))
    if "trace" in found:
        times = found["trace"] / found["extraction"]
        rows.append(Row("nnsight's `trace` that saves the same layers", times, "times"))
    return rows


def map_rows(
    loaded: LoadedModel, vectors: Tensor, size: Size, peers: dict[str, PeerWay]
) -> list[Row]:
    """The map beside the best multiply, the loop and TransformerLens."""
    ways = timed(map_ways(loaded.decoder.head.weight(torch.float32), vectors))
    ways |= {name: peers[name] for name in ("logit_readout",) if name in peers}
    measure.forget_peak()
    found = in_turns(ways, size.repeats)
    best = min(found["multiply"], found["multiply_tiles"])
    rows = [
        Row(
            f"map of {len(vectors)} neurons: share of the best multiply's rate",
            best / found["map"],
            "",
            0.85,
            False,
            "1",
            "sums, cosines and both ends' tokens take one look at every logit",
        ),
        Row("map: times the paper's loop", found["loop"] * len(vectors) / 32 / found["map"], ""),
        Row("peak memory of the map", measure.peak_mb(), "MB"),
    ]
    if "logit_readout" in found:
        times = found["logit_readout"] / found["map"]
        rows.append(
            Row(
                "TransformerLens' `logit_readout`, one end, no sums",
                times,
                "times",
                2,
                False,
                "",
                "its time is mostly the multiply, which the map pays too, for twice the output",
            )
        )
    return rows


def sweep_rows(replay: Replay, tokens: Tensor, size: Size, peers: dict[str, PeerWay]) -> list[Row]:
    """Sweeps over all layers beside the naive one, which is timed at some of the layers."""
    layers = range(0, replay.decoder.n_layers, size.naive_every)
    scale = replay.decoder.n_layers / len(layers)
    rows = []
    for name, (naive, fast) in sweep_ways(replay, tokens).items():
        ways = timed({"naive": partial(naive_sweep, naive, layers), "fast": fast})
        patched = "generic_activation_patch"
        if name == "switch" and patched in peers:
            ways[patched] = peers[patched]
        found = in_turns(ways, size.repeats)
        each = found["fast"] / len(tokens)
        rows.append(
            Row(
                f"sweep of {name}, {tokens.shape[1]} tokens: share of the naive sweep's time",
                each / (scale * found["naive"]),
                "",
                SWEEP_GOALS[name],
                floor=SWEEP_FLOORS[name],
                why="few rows a layer: calls and norms weigh as much as products",
            )
        )
        if patched in found:
            rows.append(
                Row(
                    "TransformerLens' `generic_activation_patch`, one example",
                    found[patched] / each,
                    "times",
                    10,
                    False,
                    why="the subject stands early in the prompt, so most positions are swept",
                )
            )
    return rows


def fact_rows(loaded: LoadedModel, prompt: list[int], size: Size) -> list[Row]:
    """Certified search beside the exhaustive one, which is timed on a sample of neurons."""
    target = loaded.tokenizer(" Paris", add_special_tokens=False)["input_ids"][0]
    work = FactWork(loaded.decoder, prompt, target, 100, size.sampled)
    found = in_turns(
        timed({"certified": work.certified, "sample": work.exhaustive_sample}), size.repeats
    )
    times = found["sample"] * work.units / work.sampled / found["certified"]
    rows = [
        Row(
            f"certified top 100 of {work.units:,} neurons: times the exhaustive search",
            times,
            "",
            200,
            False,
            why="a prompt whose bounds are loose has more neurons evaluated",
        )
    ]
    if size is not QUICK:
        rows.append(Row("the same neurons", float(work.identical()), "", 1, False))
    return rows


def scoring_rows(loaded: LoadedModel, detector: Path | None, size: Size) -> list[Row]:
    """Texts scored with a saved detector, beside the plain pass over them."""
    if detector is None:
        sys.stderr.write("no --detector: the row of scoring is left out\n")
        return []
    read = load_detector(detector)
    texts = [
        f"{SHOT.format(COUNTRIES[row % 8])} {row}." * (1 + row % 3) for row in range(size.scored)
    ]
    ids = [loaded.tokenizer(text)["input_ids"] for text in texts]
    lengths = [len(row) for row in ids]
    plain = extraction_ways(loaded.decoder, batches_of(loaded.decoder, lengths, 2048))["plain"]
    ways = timed({"plain": plain, "scored": lambda: score_texts(loaded, read, texts, 2048)})
    found = in_turns(ways, size.repeats)
    name = f"scoring {len(texts)} texts of {sum(lengths)} tokens: share of the plain pass's time"
    why = "tokenising and features are part of it"
    return [Row(name, found["scored"] / found["plain"], "", 1.15, floor="1", why=why)]


def growth_rows(loaded: LoadedModel, vectors: Tensor, prompt: list[int], size: Size) -> list[Row]:
    """Exponents of time over texts, neurons and facts, all sizes in turns."""
    decoder = loaded.decoder
    head = decoder.head.weight(torch.float32)
    target = loaded.tokenizer(" Paris", add_special_tokens=False)["input_ids"][0]
    fact = FactWork(decoder, prompt, target, 100, 1)

    def facts(count: int) -> None:
        for _ in range(count):
            fact.certified()

    def texts(count: int) -> measure.Way:
        batches = batches_of(decoder, [32] * (4 * count), 2048)
        return extraction_ways(decoder, batches)["extraction"]

    step = len(vectors) // max(size.grown)
    kinds: dict[str, Callable[[int], measure.Way]] = {
        "texts": texts,
        "neurons": lambda count: map_ways(head, vectors[: step * count])["map"],
        "facts": lambda count: partial(facts, count),
    }
    rows = []
    for kind, way in kinds.items():
        ways = {str(count): partial(seconds, way(count)) for count in size.grown}
        found = in_turns(ways, size.repeats)
        grown = exponent(size.grown, [found[str(count)] for count in size.grown])
        name = f"growth over {', '.join(map(str, size.grown))} times the {kind}: exponent"
        rows.append(Row(name, grown, "", 1.05, floor="1"))
    return rows


def _processor() -> str:
    """The processor's name and what it multiplies with."""
    try:
        information = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in information.splitlines()]
    keys = [line.partition(":")[0].strip() for line in information.splitlines()]
    model = named[keys.index("model name")] if "model name" in keys else platform.machine()
    flags = named[keys.index("flags")].split() if "flags" in keys else []
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{model} ({', '.join(wide)})" if wide else model


if __name__ == "__main__":
    main()
