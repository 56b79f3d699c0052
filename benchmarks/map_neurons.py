"""How fast neurons are decoded, beside the best matrix multiply and the per-neuron loop.

    python benchmarks/map_neurons.py --vocab 49152 --width 576 --neurons 1536 --threads 2

Random weights of the asked shapes; every figure is a median of runs that alternate, so that other
work on the machine weighs on all of them alike. Trust the ratios, not the times.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from llm_anatomy.neurons.decode import TILE, HeadDecoder

TOP_K = 10
LOOP_NEURONS = 32


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocab", type=int, default=49152, help="rows of the LM head")
    parser.add_argument("--width", type=int, default=576, help="width of the residual stream")
    parser.add_argument("--neurons", type=int, default=1536, help="neurons to decode")
    parser.add_argument("--repeats", type=int, default=5, help="runs of everything")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--layers", type=int, default=1, help="map this many layers in a row")
    parser.add_argument(
        "--screen", action="store_true", help="screen in bfloat16 too (slow without its hardware)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    head = 0.13 * torch.randn(arguments.vocab, arguments.width, device=arguments.device)
    vectors = 0.2 * torch.randn(arguments.neurons, arguments.width, device=arguments.device)
    runs = _multiplies(head, vectors)
    runs["per_neuron_loop"] = _loop(head, vectors)
    exact = HeadDecoder(head, TOP_K)
    runs["map_float32"] = _map(exact, vectors, arguments.layers)
    found = {"cuda": torch.cuda.get_device_name()} if arguments.device == "cuda" else {}
    if arguments.screen:
        screened = HeadDecoder(head, TOP_K, screen=True)
        runs["map_screened"] = _map(screened, vectors, arguments.layers)
        same = screened.decode(vectors).positive.ids == exact.decode(vectors).positive.ids
        found["screened_same_top10"] = float(same.all(1).float().mean())
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.repeats):
        for name, run in runs.items():
            seconds[name].append(_per_vector(run, arguments.device))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(value for name, value in medians.items() if name.startswith("matmul"))
    report = {
        "shapes": vars(arguments),
        "microseconds_per_vector": {name: 1e6 * value for name, value in medians.items()},
        "share_of_best_multiply": best / medians["map_float32"],
        "times_the_loop": medians["per_neuron_loop"] / medians["map_float32"],
        **found,
    }
    if arguments.screen:
        report["screened_times_the_loop"] = medians["per_neuron_loop"] / medians["map_screened"]
    json.dump(report, sys.stdout, indent=1)
    sys.stdout.write("\n")


Run = Callable[[], int]


def _multiplies(head: torch.Tensor, vectors: torch.Tensor) -> dict[str, Run]:
    """Plain multiplies into a reused buffer, whole and in tiles: the best one is the bound."""
    runs: dict[str, Run] = {}
    for rows in (256, 512, 1024):
        part = vectors[:rows]
        whole = head.new_empty(len(part), len(head))

        def multiply(part: torch.Tensor = part, out: torch.Tensor = whole) -> int:
            torch.mm(part, head.T, out=out)
            return len(part)

        runs[f"matmul_{rows}"] = multiply
    tile = TILE[head.device.type]
    part = vectors[:512]
    out = head.new_empty(len(part), tile)

    def multiply_tiles() -> int:
        for start in range(0, len(head), tile):
            columns = head[start : start + tile]
            torch.mm(part, columns.T, out=out[:, : len(columns)])
        return len(part)

    runs["matmul_tiles_512"] = multiply_tiles
    return runs


def _loop(head: torch.Tensor, vectors: torch.Tensor) -> Run:
    def loop() -> int:
        for vector in vectors[:LOOP_NEURONS]:
            (head @ vector).softmax(0).topk(TOP_K)
        return min(LOOP_NEURONS, len(vectors))

    return loop


def _map(decoder: HeadDecoder, vectors: torch.Tensor, layers: int) -> Run:
    def decode() -> int:
        for _ in range(layers):
            decoder.decode(vectors)
        return layers * len(vectors)

    return decode


def _per_vector(run: Run, device: str) -> float:
    """Seconds per vector: processor time on a CPU, which other work distorts least."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    count = run()
    if device == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) / count


if __name__ == "__main__":
    main()
