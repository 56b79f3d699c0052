"""The experiments as a notebook calls them: a loaded model, frames and settings in, frames out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.geometry import (
    AnswerScorer,
    Extraction,
    InsertedText,
    PromptCategory,
    PromptDimension,
    RegionChecks,
)
from llm_anatomy.errors import UserError
from llm_anatomy.geometry.claims import insert_claim
from llm_anatomy.geometry.experiment import (
    ask_prompts,
    check_regions,
    evenly_spaced,
    trace_inserts,
)
from llm_anatomy.geometry.extraction import Request
from llm_anatomy.geometry.gathering import extract_activations, shard_rows
from llm_anatomy.geometry.outcomes import judge_answers
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.tables.core import read_table, write_table
from llm_anatomy.tables.geometry import (
    HULL_CHECKS,
    INSERT_STARTS,
    PREFIX_FEATURES,
    REGION_CHECKS,
)

from tests.tiny import tiny_model, tiny_tokenizer

TEXTS = pd.DataFrame(
    {"text_id": ["a", "b", "c"], "text": ["The city is Rome.", "Snow fell.", "Dogs bark."]}
)
DOCUMENT = "The city is Rome. Dogs bark at night. The sun is up again today. Snow fell."
CATEGORY = PromptCategory(name="boat", request="Sell it.", related=["It is old.", "It leaks."])


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return LoadedModel(resolve(tiny_model("llama")), tiny_tokenizer(), {"model": "tiny"})


def ask(loaded: LoadedModel, **settings: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    asked = PromptDimension.model_validate({"max_new_tokens": 3} | settings)
    request = Request(attention_tokens="last", absolute_threshold=0.0)
    return ask_prompts(loaded, [CATEGORY], ["Snow fell."], asked, request, 0, 64)


def test_a_pass_keeps_the_order_of_the_texts_whatever_the_batches(loaded: LoadedModel) -> None:
    settings = Extraction(max_length=6)
    wide = extract_activations(loaded, TEXTS, settings, 64, "texts")
    narrow = extract_activations(loaded, TEXTS, settings, 1, "texts")
    assert wide.traces["text_id"].to_pylist() == ["a", "b", "c"]
    for name in ("l0_active", "l2_distance"):
        for one, other in zip(wide.traces[name], narrow.traces[name], strict=True):
            np.testing.assert_allclose(one.values, other.values, rtol=1e-5)
    assert wide.attention_counts.equals(narrow.attention_counts)
    assert wide.provenance["extraction"]["max_length"] == 6


def test_a_text_without_a_token_is_named(loaded: LoadedModel) -> None:
    empty = pd.DataFrame({"text_id": ["a", "b"], "text": ["Rome", ""]})
    with pytest.raises(UserError, match="remarks: the text 'b' has no token"):
        extract_activations(loaded, empty, Extraction(), 64, "remarks")


def test_shards_have_every_row_once() -> None:
    rows = pd.DataFrame({"row": range(7)})
    parts = [shard_rows(rows, shard, 3) for shard in (1, 2, 3)]
    assert pd.concat(parts)["row"].tolist() == list(range(7))
    assert [len(part) for part in parts] == [2, 2, 3]


def test_checks_have_a_row_per_text_and_layer(loaded: LoadedModel) -> None:
    hulls, regions = check_regions(loaded, TEXTS, RegionChecks(texts=2, max_length=4), 0.1, "x")
    assert list(hulls) == [column.name for column in HULL_CHECKS.columns]
    assert list(regions) == [column.name for column in REGION_CHECKS.columns]
    assert hulls[["text_id", "layer"]].to_numpy().tolist() == [
        [text, layer] for text in ("a", "b") for layer in range(3)
    ]
    assert (hulls["n_tokens"] == 4).all()
    assert regions.groupby("activation").size().to_dict() == {"model": 6, "relu": 6}
    with pytest.raises(UserError, match="remarks has 1 texts; the checks need at least 2"):
        check_regions(loaded, TEXTS[:1], RegionChecks(), 0.1, "remarks")


def test_texts_of_the_checks_are_spread_over_the_data_set() -> None:
    assert evenly_spaced(10, 4) == [0, 2, 5, 7]
    assert evenly_spaced(3, 9) == [0, 1, 2]


def test_the_passage_stands_where_the_tokens_say(loaded: LoadedModel) -> None:
    inserts = [InsertedText(name=name, document=DOCUMENT, insert="Oh no!") for name in "xy"]
    features, starts = trace_inserts(loaded, inserts, 0, 64)
    assert [name for name in features if name in {c.name for c in PREFIX_FEATURES.columns}] == [
        "document", "position", "token", "inserted", "layer",
    ]  # fmt: skip
    first = features[(features["layer"] == 0) & features["inserted"]]
    for name, rows in first.groupby("document"):
        assert "".join(rows["token"]).strip() == "Oh no!"
        start = starts.loc[starts["document"] == name, "start"]
        assert set(start) == {rows["position"].min()}
    short = InsertedText(name="short", document="One sentence", insert="Oh no!")
    with pytest.raises(UserError, match="'short' cannot be used"):
        trace_inserts(loaded, [short], 0, 64)


def test_without_documents_the_tables_of_inserts_are_empty(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    for schema, rows in zip(
        (PREFIX_FEATURES, INSERT_STARTS), trace_inserts(loaded, [], 0, 64), strict=True
    ):
        write_table(tmp_path / "t.parquet", schema, rows, {})
        assert read_table(tmp_path / "t.parquet", schema).empty
    assert insert_claim("m", INSERT_STARTS.frame([]))["holds"] is None


def test_prompts_are_counted_at_their_last_token_and_answered(loaded: LoadedModel) -> None:
    prompts, dimension = ask(loaded, conditions=["none", "related"])
    assert prompts["prompt_id"].tolist() == [
        f"boat.{step}.{form}"
        for form in ("raw", "chat")
        for step in ("none.0", "related.1", "related.2")
    ]
    bare = prompts["condition"] == "none"
    assert (prompts.loc[bare, "prefix_length"] == 0).all()
    assert (prompts.loc[~bare, "prefix_length"] > 0).all()
    assert (prompts["answer_tokens"] <= 3).all()
    every = dimension[dimension["threshold"] == "absolute"]
    lengths = prompts.set_index("prompt_id")["context_length"]
    assert (every["dimension"] == 4 * every["prompt_id"].map(lengths)).all()


def test_a_prompt_that_does_not_fit_is_named(loaded: LoadedModel) -> None:
    with pytest.raises(UserError, match=r"'boat\.related\.2\.chat' and its answer need"):
        ask(loaded, conditions=["none", "related"], max_new_tokens=5000)


def test_a_chat_template_that_raises_ends_the_prompts_with_a_sentence(loaded: LoadedModel) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('Only user and assistant roles are supported') }}"
    raising = replace(loaded, tokenizer=tokenizer)
    with pytest.raises(UserError, match=r"Only user and assistant roles are supported.*'chat'"):
        ask(raising, conditions=["none"])
    prompts, _ = ask(raising, conditions=["none"], formats=["raw"])
    assert prompts["format"].tolist() == ["raw"]


def test_answers_are_judged_by_what_the_labels_teach() -> None:
    labels = [bool(row % 2) for row in range(40)]
    words = {True: "sorry I cannot help", False: "sure here you are"}
    # Copies would count once.
    more = [f"{chr(97 + row) * 40} {words[label]}" for row, label in enumerate(labels)]
    texts = pd.DataFrame({"text": more, "label_refusal": labels})
    prompts = pd.DataFrame({"prompt_id": ["p", "q"], "answer": [words[True], words[False]]})
    scorer = AnswerScorer(outcome="refused", dataset="refusals", label="refusal")
    outcomes, trained = judge_answers(prompts, [scorer], {"refusals": texts}, 0)
    assert outcomes["outcome"].tolist() == ["refused"] * 2
    assert outcomes["positive"].tolist() == [True, False]
    assert trained[["n_rows", "n_used", "n_positive"]].to_numpy().tolist() == [[40, 40, 20]]
    wrong = scorer.model_copy(update={"label": "harmful"})
    with pytest.raises(UserError, match=r"results/data/refusals\.parquet has no label 'harmful'"):
        judge_answers(prompts, [wrong], {"refusals": texts}, 0)
    none, untrained = judge_answers(prompts, [], {}, 0)
    assert none.empty
    assert untrained.empty
