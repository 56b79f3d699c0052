"""Logit lens and causal tracing against whole forward passes with hooks, one cell at a time."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from llm_anatomy.attribution.grids import NO_SUBJECT, TracedFact, average_effects, trace_states
from llm_anatomy.attribution.lens import logit_lens
from llm_anatomy.attribution.pairs import LENGTH
from llm_anatomy.config.attribution import Grids
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.tables import grids as tables
from llm_anatomy.tables.core import read_table, write_table
from torch import Tensor, nn

from tests.tiny import tiny_model, tiny_tokenizer

SETTINGS = Grids(max_facts=None, samples=2, window=2, resamples=40)
# Prompt, subject, counterfactual; the tiny tokenizer writes both of a pair with as many tokens.
FACTS = [
    ("The capital of Spain is", "Spain", "The capital of Japan is"),
    ("The capital of Kenya is", "Kenya", "The capital of Chile is"),
    ("The city of France is", "France", "The city of Italy is"),
    # Nowhere named; and a counterfactual that is longer.
    ("The capital is", "Peru", "The capital of Peru is"),
]
# The modules whose outputs attention and the MLP add, by the names of transformers.
ADDED = {
    "llama": ("model.layers.{}.self_attn.o_proj", "model.layers.{}.mlp.down_proj"),
    "gpt2": ("transformer.h.{}.attn.c_proj", "transformer.h.{}.mlp.c_proj"),
    "gpt_neox": ("gpt_neox.layers.{}.attention.dense", "gpt_neox.layers.{}.mlp.dense_4h_to_h"),
    "gemma2": (
        "model.layers.{}.post_attention_layernorm",
        "model.layers.{}.post_feedforward_layernorm",
    ),
}
BLOCKS = {
    "llama": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "gemma2": "model.layers",
}


def facts() -> pd.DataFrame:
    tokenizer = tiny_tokenizer()
    prompts = [prompt for prompt, _, _ in FACTS]
    others = [other for _, _, other in FACTS]
    return pd.DataFrame(
        {
            "example_id": [f"f{n}" for n in range(len(FACTS))],
            "prompt": prompts,
            "subject": [subject for _, subject, _ in FACTS],
            "tokens": [tokenizer(prompt)["input_ids"] for prompt in prompts],
            "gold_token": [12, 200, 31, 8],
            "counterfactual_prompt": others,
            "counterfactual_tokens": [tokenizer(other)["input_ids"] for other in others],
            "counterfactual_token": [90, 31, 8, 12],
        }
    )


def study(family: str = "llama", seed: int = 0, budget: int = 2048, **changes: object) -> Any:
    loaded = LoadedModel(resolve(tiny_model(family)), tiny_tokenizer(), {})
    return trace_states(loaded, facts(), SETTINGS.model_copy(update=changes), seed, budget)


class Naive:
    """Whole forward passes of transformers' own model with plain hooks."""

    def __init__(self, family: str, tokens: list[int]) -> None:
        self.model, self.family = tiny_model(family), family
        self.tokens = torch.tensor([tokens])
        self.blocks = self.model.get_submodule(BLOCKS[family])

    def added(self, kind: str, layer: int) -> nn.Module:
        name = ADDED[self.family][("attention", "ffn").index(kind)]
        return self.model.get_submodule(name.format(layer))

    def run(self, start: Tensor | None, restore: dict[nn.Module, tuple[int, Tensor]]) -> Tensor:
        """Logits of the last position; `restore` sets a module's output at one position."""
        handles = []
        if start is not None:

            def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                return (start, *args[1:]), {k: v for k, v in kwargs.items() if k != "hidden_states"}

            handles.append(self.blocks[0].register_forward_pre_hook(begin, with_kwargs=True))
        for module, (position, value) in restore.items():

            def put(_: nn.Module, __: Any, out: Any, position=position, value=value) -> Any:
                tensor = (out[0] if isinstance(out, tuple) else out).clone()
                tensor[:, position] = value
                return (tensor, *out[1:]) if isinstance(out, tuple) else tensor

            handles.append(module.register_forward_hook(put))
        with torch.no_grad():
            logits = self.model(self.tokens, use_cache=False).logits[:, -1]
        for handle in handles:
            handle.remove()
        return logits.double()

    def outputs(self, modules: list[nn.Module]) -> dict[nn.Module, Tensor]:
        """Outputs in the clean run, of every position."""
        seen: dict[nn.Module, Tensor] = {}
        handles = [
            m.register_forward_hook(
                lambda m, _, out: seen.update(
                    {m: (out[0] if isinstance(out, tuple) else out)[0].clone()}
                )
            )
            for m in modules
        ]
        with torch.no_grad():
            self.model(self.tokens, use_cache=False)
        for handle in handles:
            handle.remove()
        return seen


def measures(logits: Tensor, answer: int, rival: int) -> tuple[float, float]:
    return (
        float(logits.softmax(-1)[:, answer].mean()),
        float((logits[:, answer] - logits[:, rival]).mean()),
    )


@pytest.mark.parametrize("family", list(ADDED))
@pytest.mark.parametrize("corruption", ["noise", "swap"])
def test_every_cell_is_a_whole_pass_with_hooks(
    family: str, corruption: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm_anatomy.attribution import grids

    kept: list[TracedFact] = []
    make = grids.corrupted_facts

    def spy(*args: Any) -> Any:
        found = make(*args)
        kept.extend(found[0])
        return found

    monkeypatch.setattr(grids, "corrupted_facts", spy)
    made = study(family, corruptions=[corruption])
    grid = made.frames[tables.TRACING_GRID]
    totals = made.frames[tables.TRACED_FACTS].set_index("example_id")
    given = facts().set_index("example_id")
    assert len(kept) == 3
    for fact in kept:
        naive = Naive(family, list(fact.tokens))
        depth, row = len(naive.blocks), given.loc[fact.example_id]
        answer, rival = int(row["gold_token"]), int(row["counterfactual_token"])
        clean = measures(naive.run(None, {}), answer, rival)
        if corruption == "swap":
            # The counterfactual's own run is the corrupted one.
            other = Naive(family, list(row["counterfactual_tokens"]))
            corrupted = measures(other.run(None, {}), answer, rival)
        else:
            corrupted = measures(
                torch.cat([naive.run(s[None], {}) for s in fact.starts]), answer, rival
            )
        own = totals.loc[fact.example_id]
        for columns, expected in (
            (("clean", "clean_contrast"), clean),
            (("corrupted", "corrupted_contrast"), corrupted),
        ):
            assert [own[c] for c in columns] == pytest.approx(list(expected), rel=1e-4, abs=1e-6)
        every = [naive.added(kind, n) for kind in ("attention", "ffn") for n in range(depth)]
        values = naive.outputs([*naive.blocks, *every])
        cells = grid[grid["example_id"] == fact.example_id]
        assert set(cells["position"]) == set(range(fact.first, len(fact.tokens)))
        for cell in cells.to_dict("records"):
            layer, position = cell["layer"], cell["position"]
            if cell["restored"] == "state":
                modules = [naive.blocks[layer]]
            else:
                # A window of two: the layer and the one above it.
                at = range(layer, min(layer + 2, depth))
                modules = [naive.added(cell["restored"], n) for n in at]
            restore = {m: (position, values[m][position]) for m in modules}
            logits = torch.cat([naive.run(s[None], restore) for s in fact.starts])
            found = measures(logits, answer, rival)
            effects = [now - before for now, before in zip(found, corrupted, strict=True)]
            assert [cell["effect"], cell["contrast_effect"]] == pytest.approx(
                effects, rel=1e-3, abs=2e-6
            )


def test_what_cannot_be_corrupted_is_counted_with_its_reason() -> None:
    made = study()
    assert made.counts == {"facts": 4, "used": 4}
    assert made.reasons == {NO_SUBJECT: 1, f"swap: {LENGTH}": 1}
    traced = made.frames[tables.TRACED_FACTS]
    assert traced.groupby("corruption")["example_id"].agg(list).to_dict() == {
        "noise": ["f0", "f1", "f2"],
        "swap": ["f0", "f1", "f2"],
    }
    assert set(traced[traced["corruption"] == "noise"]["samples"]) == {2}
    # The lens needs neither subject nor counterfactual.
    assert set(made.frames[tables.LENS_GRID]["example_id"]) == {"f0", "f1", "f2", "f3"}


def test_tables_are_as_declared_and_the_whole_last_state_restores_everything(
    tmp_path: Path,
) -> None:
    made = study()
    for number, schema in enumerate(tables.TABLES):
        path = tmp_path / f"{number}.parquet"
        write_table(path, schema, made.frames[schema], {})
        assert len(read_table(path, schema)) == len(made.frames[schema]) > 0
    grid = made.frames[tables.TRACING_GRID]
    totals = made.frames[tables.TRACED_FACTS].set_index(["corruption", "example_id"])
    top = grid[(grid["restored"] == "state") & (grid["layer"] == grid["layer"].max())]
    for cell in top.to_dict("records"):
        own = totals.loc[(cell["corruption"], cell["example_id"])]
        whole = own["clean"] - own["corrupted"]
        assert cell["effect"] == pytest.approx(whole if cell["role"] == "last" else 0, abs=1e-6)


def test_neither_the_batch_nor_the_order_decides_and_the_seed_does() -> None:
    whole, small, other = study(), study(budget=1), study(seed=1)
    for schema in tables.TABLES:
        pd.testing.assert_frame_equal(
            whole.frames[schema], small.frames[schema], rtol=1e-3, atol=1e-6
        )
    noise = [
        made.frames[tables.TRACED_FACTS].query("corruption == 'noise'")["corrupted"].tolist()
        for made in (whole, other)
    ]
    assert noise[0] != noise[1]
    swap = [
        made.frames[tables.TRACED_FACTS].query("corruption == 'swap'")["corrupted"].tolist()
        for made in (whole, other)
    ]
    assert swap[0] == swap[1]


@pytest.mark.parametrize(
    ("position", "role"),
    [
        (2, "first subject"),
        (3, "middle subject"),
        (4, "last subject"),
        (5, "first after"),
        (6, "further"),
        (7, "last"),
    ],
)
def test_roles_are_those_of_the_paper(position: int, role: str) -> None:
    fact = TracedFact("a", "swap", tuple(range(8)), ("",) * 8, 1, None, 2, 5, torch.zeros(1, 8, 4))
    assert fact.role(position) == role


def test_a_subject_of_one_token_is_its_last() -> None:
    fact = TracedFact("a", "swap", (1, 2, 3), ("",) * 3, 1, None, 1, 2, torch.zeros(1, 3, 4))
    assert [fact.role(position) for position in (1, 2)] == ["last subject", "last"]


def test_average_effects_count_every_fact_once() -> None:
    cells = [
        # Two middle positions of one fact, one of the other.
        ("a", 0, "middle subject", 0.2),
        ("a", 0, "middle subject", 0.4),
        ("b", 0, "middle subject", 0.6),
        ("a", 1, "middle subject", 0.0),
        ("b", 1, "middle subject", 1.0),
        ("b", 0, "last", 0.5),
    ]
    grid = pd.DataFrame(cells, columns=["example_id", "layer", "role", "effect"]).assign(
        corruption="swap", restored="state", window=1, contrast_effect=None
    )
    grid["contrast_effect"] = grid["effect"] * 10
    found = average_effects(grid, 500, 0).set_index(["role", "layer"])
    middle = found.loc[("middle subject", 0)]
    assert middle["effect"] == pytest.approx((0.3 + 0.6) / 2)
    assert (middle["low"], middle["high"]) == pytest.approx((0.3, 0.6))
    assert found.loc[("middle subject", 1), "effect"] == pytest.approx(0.5)
    assert found.loc[("last", 0), "facts"] == 1
    assert found.loc[("last", 0), "contrast_effect"] == pytest.approx(5)


def test_effects_on_the_contrast_say_of_how_many_facts() -> None:
    grid = pd.DataFrame(
        {
            "example_id": ["a", "b", "c"],
            "layer": 0,
            "role": "last",
            "effect": [0.1, 0.2, 0.6],
            "contrast_effect": [2.0, None, 4.0],
            "corruption": "noise",
            "restored": "state",
            "window": 1,
        }
    )
    (row,) = average_effects(grid, 20, 0).to_dict("records")
    assert (row["facts"], row["contrast_facts"]) == (3, 2)
    assert (row["effect"], row["contrast_effect"]) == pytest.approx((0.3, 3))
    (row,) = average_effects(grid.iloc[1:2], 20, 0).to_dict("records")
    assert (row["facts"], row["contrast_facts"]) == (1, 0)
    assert pd.isna(row["contrast_effect"])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_the_lens_reads_every_state_through_the_models_own_head(family: str) -> None:
    model = tiny_model(family)
    decoder, tokens = resolve(model), torch.tensor([5, 17, 40, 99, 8])
    lens = logit_lens(Replay(decoder), tokens, 12)
    seen: list[Tensor] = []
    handles = [
        block.module.register_forward_hook(
            lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
        )
        for block in decoder.blocks
    ]
    with torch.no_grad():
        logits = model(tokens[None], use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    cap = getattr(model.config, "final_logit_softcapping", None)
    for step, state in enumerate(seen, start=1):
        with torch.no_grad():
            read = model.get_output_embeddings()(decoder.final_norm.module(state))[0]
        read = read if cap is None else torch.tanh(read / cap) * cap
        chances = read.double().softmax(-1)
        torch.testing.assert_close(
            lens.probability[step].double(), chances[:, 12], rtol=1e-4, atol=1e-7
        )
        assert lens.top_token[step].tolist() == chances.argmax(-1).tolist()
        assert lens.rank[step].tolist() == ((chances > chances[:, 12:13]).sum(-1) + 1).tolist()
    assert lens.top_token[-1].tolist() == logits.argmax(-1).tolist()
    assert len(lens.rank) == decoder.n_layers + 1
