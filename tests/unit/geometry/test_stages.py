"""The stages on a tiny model: what they write is what the formulas give, whatever the shards."""

import functools
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.geometry import (
    Extraction,
    Inserts,
    IntrinsicDimension,
    PromptDimension,
    RegionChecks,
    SplineFeatures,
)
from llm_anatomy.errors import UserError
from llm_anatomy.figures.geometry_prompts import prompt_scatter
from llm_anatomy.geometry.activations import read_states
from llm_anatomy.model.run.loading import LoadedModel, load_model
from llm_anatomy.model.source.record import read_record, write_record
from llm_anatomy.runner import compute_settings
from llm_anatomy.stages import (
    check_geometry,
    extract_activations,
    intrinsic_dimension,
    prompt_outcomes,
    spline_features,
)
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.data import TEXTS
from llm_anatomy.tables.geometry import (
    ATTENTION_COUNTS,
    HULL_CHECKS,
    INSERT_STARTS,
    INTRINSIC_DIMENSION,
    PROMPT_CORRELATIONS,
    PROMPT_DIMENSION,
    PROMPT_OUTCOMES,
    PROMPTS,
    REGION_CHECKS,
    SCORERS,
    SPLINE_FEATURES,
    TRACES,
)

from tests.tiny import save_tiny_model
from tests.unit.geometry import reference

SENTENCES = [
    "The city is Rome.",
    "a",
    "\u00dc \N{PARTY POPPER} \N{ARABIC LETTER MEEM}",
    "A long text that is cut. " * 3,
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    weights = save_tiny_model(folder / "weights")
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in weights.iterdir()}
    record = {"model": "tiny", "revision": "", "weights_sha256": "", "files": files}
    write_record(folder, record, {})
    return folder / "provenance.json"


@pytest.fixture(scope="module")
def model_of_tokens(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with control tokens in texts read as tokens."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "weights").symlink_to(model.parent / "weights")
    record = read_record(model) | {"control_tokens": "tokens"}
    del record["sha256"], record["architecture_sha256"]
    write_record(folder, record, {})
    return folder / "provenance.json"


@pytest.fixture(autouse=True)
def _load_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One built and proven model serves every test."""
    for stage in (check_geometry, extract_activations):
        monkeypatch.setattr(stage, "load_model", loaded_once)


@functools.cache
def loaded_once(path: Path, precision: Precision, compute: Compute) -> LoadedModel:
    return load_model(path, precision, compute)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "results/data/texts.parquet"
    ids = [f"t{i}" for i in range(len(SENTENCES))]
    write_table(path, TEXTS, {"text_id": ids, "text": SENTENCES}, {})
    return path


def extract(model: Path, texts: Path, folder: Path, **asked: object) -> list[Path]:
    extraction = Extraction.model_validate(asked)
    shards = []
    for shard in range(1, extraction.shards + 1):
        shards.append(folder / f"{shard}-of-{extraction.shards}")
        extract_activations.run(
            extract_activations.ExtractionStage(
                precision=Precision(), extraction=extraction, shard=shard
            ),
            model=model,
            texts=texts,
            traces=shards[-1] / "traces.parquet",
            states=shards[-1] / "states.parquet",
            attention_counts=shards[-1] / "attention_counts.parquet",
        )
    return shards


def make_features(shards: list[Path], path: Path, *, include_bos: bool = True) -> pd.DataFrame:
    settings = spline_features.SplineStage(spline_features=SplineFeatures(include_bos=include_bos))
    traces = tuple(shard / "traces.parquet" for shard in shards)
    spline_features.run(settings, traces=traces, features=path)
    return read_table(path, SPLINE_FEATURES)


def test_features_of_a_dataset_equal_the_naive_loop(
    model: Path, texts: Path, tmp_path: Path
) -> None:
    features = make_features(extract(model, texts, tmp_path, max_length=20), tmp_path / "f.parquet")
    assert list(features["truncated"]) == [False, False, False, True]
    assert list(features["text_id"]) == ["t0", "t1", "t2", "t3"]
    loaded = loaded_once(model, Precision(), compute_settings())
    for row, text in enumerate(SENTENCES):
        ids = loaded.tokenizer(text)["input_ids"][:20]
        assert features["n_tokens"][row] == len(ids)
        for block, h in zip(
            loaded.decoder.blocks, reference.preactivations(loaded.decoder, ids), strict=True
        ):
            expected = reference.features(h, block.preactivation.weight().numpy())
            names = [f"l{block.index}_f{n}" for n in range(1, 8)]
            actual = features.loc[row, names].to_numpy(dtype=float)
            # The smallest distances carry the model's own float32 rounding across batches.
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_shards_change_nothing_but_the_files(model: Path, texts: Path, tmp_path: Path) -> None:
    whole = make_features(extract(model, texts, tmp_path), tmp_path / "whole.parquet")
    shards = extract(model, texts, tmp_path, shards=3)
    parts = make_features(shards, tmp_path / "parts.parquet")
    assert list(parts["text_id"]) == list(whole["text_id"])
    numbers = whole.columns[3:]
    np.testing.assert_allclose(parts[numbers], whole[numbers], rtol=1e-4, atol=1e-6)
    text_ids, states = read_states([s / "states.parquet" for s in shards], [("mean", 2)])
    assert text_ids == list(whole["text_id"])
    assert list(states) == [("mean", 2)]
    assert states["mean", 2].shape == (4, 32)


def test_the_same_run_writes_the_same_bytes(model: Path, texts: Path, tmp_path: Path) -> None:
    first, again = (extract(model, texts, tmp_path / name)[0] for name in ("a", "b"))
    for file in first.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_dimensions_are_sums_over_heads_and_clipped_as_asked(
    model: Path, texts: Path, tmp_path: Path
) -> None:
    asked = {"attention_tokens": "all", "absolute_threshold": 0.0, "max_length": 12}
    shards = extract(model, texts, tmp_path, **asked)
    tables = {}
    for clip in ("none", "heads", "model"):
        settings = intrinsic_dimension.DimensionStage(
            intrinsic_dimension=IntrinsicDimension(clip=clip)
        )
        path = tmp_path / f"{clip}.parquet"
        intrinsic_dimension.run(
            settings,
            attention_counts=tuple(shard / "attention_counts.parquet" for shard in shards),
            intrinsic_dimension=path,
        )
        tables[clip] = read_table(path, INTRINSIC_DIMENSION)
    # Threshold 0 counts every visible token in each of the 4 heads of dimension 8, width 32.
    absolute = tables["none"].query("threshold == 'absolute'")
    assert (absolute["dimension"] == 4 * absolute["n_tokens"]).all()
    clipped = tables["heads"].query("threshold == 'absolute'")
    assert (clipped["dimension"] == 4 * clipped["n_tokens"].clip(upper=8)).all()
    clipped = tables["model"].query("threshold == 'absolute'")
    assert (clipped["dimension"] == (4 * clipped["n_tokens"]).clip(upper=32)).all()
    # One row per token, layer and threshold, and each is the sum of the heads' own counts.
    counted = pd.concat(
        read_table(s / "attention_counts.parquet", ATTENTION_COUNTS) for s in shards
    )
    rows = tables["none"].set_index(["threshold", "text_id", "position", "layer"])["count"]
    assert len(rows) == 2 * 3 * len(counted)
    for threshold in ("relative", "absolute"):
        for row in counted.itertuples():
            for layer in range(3):
                heads = getattr(row, f"l{layer}_{threshold}")
                assert rows[threshold, row.text_id, row.position, layer] == sum(heads)


def test_control_tokens_of_a_text_are_text_and_counted(
    model: Path, model_of_tokens: Path, texts: Path, tmp_path: Path
) -> None:
    rows = {"text_id": ["x", "y"], "text": ["a<|end|>b<|end|>", "ab"]}
    write_table(texts, TEXTS, rows, {})
    for prepared, lengths, read in ((model, [16, 2], "text"), (model_of_tokens, [4, 2], "tokens")):
        (shard,) = extract(prepared, texts, tmp_path / read)
        traces = read_table(shard / "traces.parquet", TRACES)
        assert traces["n_tokens"].tolist() == lengths
        assert traces["control_tokens"].tolist() == [2, 0]
        make_features([shard], tmp_path / read / "f.parquet")
        record = read_provenance(tmp_path / read / "f.parquet")
        assert record["control_tokens"] == read
        assert record["texts_with_control_tokens"] == 1


def test_bos_is_left_out_when_asked(model_of_tokens: Path, texts: Path, tmp_path: Path) -> None:
    write_table(texts, TEXTS, {"text_id": ["x"], "text": ["<|end|>ab"]}, {})
    shards = extract(model_of_tokens, texts, tmp_path)
    traces = read_table(shards[0] / "traces.parquet", TRACES)
    assert traces["has_bos"].tolist() == [True]
    features = make_features(shards, tmp_path / "f.parquet", include_bos=False)
    expected = float(np.mean(np.asarray(traces["l0_active"][0], dtype=float)[1:]))
    assert features["l0_f1"][0] == pytest.approx(expected, rel=1e-12)


def test_a_text_of_bos_alone_is_named(model_of_tokens: Path, texts: Path, tmp_path: Path) -> None:
    write_table(texts, TEXTS, {"text_id": ["only"], "text": ["<|end|>"]}, {})
    shards = extract(model_of_tokens, texts, tmp_path)
    with pytest.raises(UserError, match="'only' has no token beside"):
        make_features(shards, tmp_path / "f.parquet", include_bos=False)


def test_a_layer_out_of_range_is_named(model: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names layer 7, but the model has the layers 0 to 2"):
        extract(model, texts, tmp_path, state_layers=[7])


def test_checks_prompts_and_inserts_run_on_a_tiny_model(
    model: Path, texts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results/geometry/tiny"
    hulls, regions = folder / "texts/hull_checks.parquet", folder / "texts/region_checks.parquet"
    prompts, dimension = tmp_path / "prompts.parquet", tmp_path / "dimension.parquet"
    starts = tmp_path / "starts.parquet"
    # Every break lies far enough from both ends, whichever is drawn.
    document = "The old city by the sea is Rome. Dogs bark at night. The sun is up. Snow fell."
    check_geometry.run(
        check_geometry.ExperimentStage(
            seed=0,
            precision=Precision(),
            checks=RegionChecks(texts=3),
            inserts=Inserts(texts=[{"name": "d", "document": document, "insert": "Oh no!"}]),
            prompts=PromptDimension(
                categories=[{"name": "a", "request": "Go.", "related": ["Rome is far."]}],
                unrelated=["Snow."],
                max_new_tokens=3,
            ),
            relative_threshold=0.1,
            absolute_threshold=0.0,
        ),
        model=model,
        texts=(texts,),
        insert_texts=(),
        prompt_texts=(),
        hull_checks=(hulls,),
        region_checks=(regions,),
        prefix_features=tmp_path / "prefix.parquet",
        insert_starts=starts,
        prompts=prompts,
        prompt_dimension=dimension,
    )
    assert (read_table(hulls, HULL_CHECKS)["hull_error"] < 1e-5).all()
    checked = read_table(regions, REGION_CHECKS)
    assert len(checked) == 3 * 3 * 2
    exact = checked.query("activation == 'relu'")
    assert (exact[["reconstruction_error", "neighbour_error"]] < 1e-5).all(axis=None)
    written = read_table(prompts, PROMPTS)
    assert len(written) == 2 * 6
    absolute = read_table(dimension, PROMPT_DIMENSION).query("threshold == 'absolute'")
    lengths = written.set_index("prompt_id")["context_length"]
    assert (absolute["dimension"] == 4 * absolute["prompt_id"].map(lengths)).all()
    jumps = read_table(starts, INSERT_STARTS)
    assert jumps["feature"].tolist() == list(range(1, 8))
    assert (jumps["end"] - jumps["start"] == len("Oh no! ")).all()
    unjudged = {name: tmp_path / f"{name}.parquet" for name in ("outcomes", "scorers", "links")}
    prompt_outcomes.run(
        prompt_outcomes.OutcomeStage(seed=0, scorers=[]),
        prompts=prompts,
        prompt_dimension=dimension,
        texts=(),
        prompt_outcomes=unjudged["outcomes"],
        answer_scorers=unjudged["scorers"],
        prompt_correlations=unjudged["links"],
    )
    outcomes = read_table(unjudged["outcomes"], PROMPT_OUTCOMES)
    assert outcomes.empty
    assert read_table(unjudged["scorers"], SCORERS).empty
    links = read_table(unjudged["links"], PROMPT_CORRELATIONS)
    assert set(links["variable"]) == {"context_length", "related"}
    drawn = prompt_scatter(
        written, read_table(dimension, PROMPT_DIMENSION), outcomes, "m", dimension
    )
    assert "not judged" in drawn.caption
