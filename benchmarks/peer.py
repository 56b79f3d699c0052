"""A peer's way to the same numbers, in the peer's own environment; `side_by_side` gives it turns.

    PEER_PYTHON benchmarks/peer.py transformer_lens WEIGHTS_FOLDER WORK.pt

Nothing of this project is imported here. Every line on standard input is the name of a way; the
answer is its processor seconds.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def transformer_lens(folder: Path, work: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """TransformerLens 4: a cache of what the studies need, a chunked readout, a patch per layer."""
    from transformer_lens import patching
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis.logit_lens import logit_readout
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = TransformerBridge.boot_transformers(
        str(folder),
        hf_model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device="cpu",
    )
    wanted = ("mlp.gate.hook_out", "mlp.hook_pre", "hook_resid_post")
    tokens, donors = work["tokens"][:1], work["donors"][:1]
    place = int(work["place"])

    def cache() -> None:
        for ids in work["batches"]:
            model.run_with_cache(
                ids, return_type=None, names_filter=lambda name: name.endswith(wanted)
            )

    def patch() -> None:
        _, clean = model.run_with_cache(
            donors, names_filter=lambda name: name.endswith("hook_resid_pre")
        )

        def put(state: torch.Tensor, index: Any, given: Any) -> torch.Tensor:
            state[:, place] = given[:, place]
            return state

        layers = torch.arange(model.cfg.n_layers)
        patching.generic_activation_patch(
            model,
            tokens,
            clean,
            patching_metric=lambda logits: logits[0, -1, 0],
            patch_setter=put,
            activation_name="resid_pre",
            index_df=_frame({"layer": layers.tolist()}),
        )

    return {
        "run_with_cache": cache,
        "logit_readout": lambda: logit_readout(
            model, work["vectors"], apply_ln=False, top_k=10, chunk_size=256
        ),
        "generic_activation_patch": patch,
    }


def nnsight(folder: Path, work: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Nnsight 0.8: gate, up and the output of every layer, saved in one trace."""
    from nnsight import LanguageModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = LanguageModel(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )

    def trace() -> None:
        for ids in work["batches"]:
            kept = []
            with torch.no_grad(), model.trace(ids):
                for layer in model.model.layers:
                    kept.append(layer.mlp.gate_proj.output.save())
                    kept.append(layer.mlp.up_proj.output.save())
                    kept.append(layer.output.save())

    return {"trace": trace}


PEERS = {"transformer_lens": transformer_lens, "nnsight": nnsight}


def main() -> None:
    """Load, say so, and answer."""
    name, folder, work = sys.argv[1:]
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    # What a peer prints is not an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    ways = PEERS[name](Path(folder), torch.load(work, weights_only=True))
    print("ready", *ways, file=answers, flush=True)
    for line in sys.stdin:
        start = time.process_time()
        ways[line.strip()]()
        print(time.process_time() - start, file=answers, flush=True)


def _frame(columns: dict[str, list[int]]) -> Any:
    import pandas as pd

    return pd.DataFrame(columns)


if __name__ == "__main__":
    main()
