"""Every stage of the study on a tiny model: what a user finds in the tables."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.neurons import (
    Activation,
    Clamping,
    ClampTarget,
    Comparison,
    Concept,
    ConceptSearch,
    Edit,
    FineTune,
    Neuron,
    Validation,
    VocabularyMap,
)
from llm_anatomy.errors import UserError
from llm_anatomy.stages import (
    compare_models,
    find_concepts,
    fine_tune,
    validate_neurons,
)
from llm_anatomy.tables.core import read_provenance, read_table
from llm_anatomy.tables.neurons import (
    ACTIVATION,
    AGREEMENT,
    CHANGED,
    CLAMPING,
    CONCEPT_TOKENS,
    CONCEPTS,
    EDITS,
    FAVOURITE,
    SIGN_TESTS,
    STATISTICS,
    TRAINING,
    VALIDATION,
    VOCABULARY,
)

from tests.unit.neurons.conftest import TOKENS, prepare
from tests.unit.neurons.tools import PRECISION, SEARCH, make_map, run_clamps


@pytest.fixture(scope="module")
def mapped(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_map(tiny, tmp_path_factory.mktemp("map"), top_k=4)[0]


@pytest.fixture(scope="module")
def concepts(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("concepts")
    stage = find_concepts.FindStage(seed=0, map=VocabularyMap(), search=SEARCH)
    find_concepts.run(
        stage,
        model=tiny,
        concepts=folder / "concepts.parquet",
        concept_tokens=folder / "concept_tokens.parquet",
    )
    return folder / "concepts.parquet"


def test_map_covers_every_neuron_once_and_matches_the_formula(tiny: Path, mapped: Path) -> None:
    from safetensors.torch import load_file

    table = read_table(mapped, VOCABULARY)
    assert len(table) == 3 * 3 * 48 * 2 * 4
    assert not table.duplicated(["layer", "neuron", "matrix", "sign", "rank"]).any()
    tensors = load_file(tiny.parent / "weights" / "model.safetensors")
    # Over tokens: the rows of the head behind the last token are no words.
    logits = tensors["lm_head.weight"][:TOKENS].double() @ (
        tensors["model.layers.2.mlp.up_proj.weight"][7].double()
    )
    rows = table.query("layer == 2 and neuron == 7 and matrix == 'up'").set_index(["sign", "rank"])
    for sign in (1, -1):
        chances = (sign * logits).softmax(0)
        ids = chances.topk(4).indices
        assert rows.loc[sign, "token_id"].tolist() == ids.tolist()
        np.testing.assert_allclose(rows.loc[sign, "probability"], chances[ids], atol=1e-7)
        np.testing.assert_allclose(rows.loc[sign, "logit"], logits[ids], atol=1e-5)
    assert read_provenance(mapped)["normalisation"] == "raw"


def test_joined_statistics_have_a_row_per_vector(tiny: Path, tmp_path: Path) -> None:
    statistics = read_table(make_map(tiny, tmp_path, top_k=2)[1], STATISTICS)
    assert len(statistics) == 3 * 3 * 48
    assert statistics["layer"].is_monotonic_increasing


def test_concepts_place_their_token_and_name_their_spellings(concepts: Path) -> None:
    table = read_table(concepts, CONCEPTS)
    assert table.groupby("concept").size().to_dict() == {"Paris": 5, "Rome": 5}
    assert (table.groupby("concept")["specificity"].diff().dropna() <= 0).all()
    np.testing.assert_allclose(table["specificity"], table["cosine"] - table["hubness"], atol=1e-6)
    spellings = read_table(concepts.with_name("concept_tokens.parquet"), CONCEPT_TOKENS)
    found = spellings.dropna(subset="token_id")
    assert found["text"].tolist() == [" Paris", " Rome"]


def test_clamping_moves_the_probability_and_zero_change_is_clean(
    tiny: Path, concepts: Path, tmp_path: Path
) -> None:
    clamping = Clamping(
        targets=[ClampTarget(concept="Paris", prompt="The capital of France is")],
        operations=["set", "add", "scale"],
        values=[-5, 0, 1, 5],
        kl_targets=[0.05],
        held_text="The city of Rome is the capital of Italy.",
        top_tokens=3,
    )
    table = read_table(
        run_clamps(tiny, concepts, tmp_path, clamping=clamping)["clamping"], CLAMPING
    )
    clean = table[table["operation"] == "none"]
    assert (clean["kl"] == 0).all()
    assert len(clean) == 2
    unchanged = table.query(
        "(operation == 'add' and value == 0) or (operation == 'scale' and value == 1)"
    )
    assert len(unchanged) == 2 * 3 * 2 * 2
    np.testing.assert_allclose(unchanged["kl"], 0, atol=1e-9)
    np.testing.assert_allclose(unchanged["probability"], clean["probability"].iloc[0], rtol=1e-4)
    calibrated = table[table["kl_target"].notna()]
    assert len(calibrated)
    np.testing.assert_allclose(calibrated["kl"], calibrated["kl_target"], rtol=0.05)
    assert set(table["role"]) == {"concept", "control"}
    assert table["top_tokens"].map(len).eq(3).all()


def test_a_neuron_that_is_not_there_is_named(tiny: Path, concepts: Path, tmp_path: Path) -> None:
    target = ClampTarget(concept="Paris", prompt="The", neuron=Neuron(layer=9, neuron=0))
    with pytest.raises(UserError, match="layer 9, but the model has the layers 0 to 2"):
        run_clamps(tiny, concepts, tmp_path, clamping=Clamping(targets=[target]))


def test_favourite_answers_have_controls_and_a_clean_condition(
    tiny: Path, concepts: Path, tmp_path: Path
) -> None:
    paths = [run_clamps(tiny, concepts, tmp_path / folder)["favourite"] for folder in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    table = read_table(paths[0], FAVOURITE)
    assert table["condition"].value_counts().to_dict() == {"clean": 2, "concept": 2, "control": 2}
    chance = table.groupby("condition")["prefill_probability"].first()
    assert chance["concept"] > chance["clean"]


def test_validation_reports_every_layer_and_matrix_and_overlap_is_a_share(
    tiny: Path, mapped: Path, texts: Path, tmp_path: Path
) -> None:
    stage = validate_neurons.ValidateStage(
        seed=0,
        precision=PRECISION,
        validation=Validation(neurons_per_layer=2, prompts=["The city", "Paris is"]),
        activation=Activation(texts=6, max_tokens=20, neurons_per_layer=2, top_positions=5),
    )
    rows, tests, path = (tmp_path / f"{name}.parquet" for name in ("rows", "tests", "activation"))
    tables = {"vocabulary": mapped, "validation": rows, "sign_tests": tests}
    validate_neurons.run(stage, model=tiny, **tables, texts=(texts,), activation=(path,))
    assert len(read_table(rows, VALIDATION)) == 3 * 3 * 2 * 2 * 2
    assert len(read_table(tests, SIGN_TESTS)) == 9
    intact = rows.read_bytes()
    # Without a data set there is nothing to watch the neurons on.
    validate_neurons.run(stage, model=tiny, **tables, texts=(), activation=())
    assert rows.read_bytes() == intact
    table = read_table(path, ACTIVATION)
    assert len(table) == 3 * 3 * 2 * 2
    assert table["here"].between(0, 1).all()
    assert (table["positions"] == 5).all()


def test_fine_tune_is_a_prepared_model_that_learnt_and_compares(
    tiny: Path, texts: Path, tmp_path: Path
) -> None:
    tuned = tmp_path / "tiny-tuned"
    settings = FineTune(steps=6, batch=2, max_tokens=16, learning_rate=1e-2)
    fine_tune.run(
        fine_tune.TuneStage(seed=0, fine_tune=settings),
        model=tiny,
        texts=texts,
        provenance=tuned / "provenance.json",
        training=tuned / "training.parquet",
    )
    curve = read_table(tuned / "training.parquet", TRAINING)
    held = curve["held_loss"].dropna()
    assert held.iloc[-1] < held.iloc[0]
    comparison = Comparison(heads=["own", "first"], changed=7, matrices=["up", "down"])
    stage = compare_models.CompareStage(map=VocabularyMap(top_k=3), comparison=comparison)
    vocabulary, _ = make_map(tiny, tmp_path, top_k=3)
    tables = {}
    for other in (tiny, tuned / "provenance.json"):
        paths = (
            tmp_path / f"{other.parent.name}.a.parquet",
            tmp_path / f"{other.parent.name}.c.parquet",
        )
        compare_models.run(
            stage,
            model_a=tiny,
            model_b=other,
            vocabulary_a=vocabulary,
            agreement=paths[0],
            changed=paths[1],
        )
        tables[other] = read_table(paths[0], AGREEMENT), read_table(paths[1], CHANGED)
    same, _ = tables[tiny]
    assert (same["same_top"] == 1).all()
    np.testing.assert_allclose(same["weight_cosine"], 1)
    agreement, changed = tables[tuned / "provenance.json"]
    assert len(agreement) == 2 * 2 * 4
    together = agreement[agreement["layer"].isna()]
    assert (together["neurons"] == 3 * 48).all()
    assert (agreement["weight_cosine"] < 1).all()
    assert changed.groupby("matrix")["weight_cosine"].is_monotonic_increasing.all()


def test_models_of_other_shapes_are_refused(tiny: Path, mapped: Path, tmp_path: Path) -> None:
    other = prepare(tmp_path / "other", num_hidden_layers=2)
    stage = compare_models.CompareStage(map=VocabularyMap(), comparison=Comparison())
    with pytest.raises(UserError, match="n_layers is 3 and 2"):
        compare_models.run(
            stage,
            model_a=tiny,
            model_b=other,
            vocabulary_a=mapped,
            agreement=tmp_path / "a.parquet",
            changed=tmp_path / "c.parquet",
        )


def test_edits_are_measured_alone_and_restore_the_model(
    tiny: Path, concepts: Path, tmp_path: Path
) -> None:
    edit = Edit(concepts=["Paris", "Rome"], rows=[8], prompts=["The capital of France is"])
    tables = run_clamps(tiny, concepts, tmp_path / "edited", edit=edit)
    table = read_table(tables["edits"], EDITS)
    assert table["rows"].tolist() == [0, 8, 0, 8]
    # The second concept's untouched row shows that the first edit was undone. That an edit lowers
    # its concept is seen on a model that knows some (`answers/test_both_outcomes_of_neurons.py`).
    assert table["kl"].tolist()[::2] == [0, 0]
    alone = run_clamps(
        tiny, concepts, tmp_path / "alone", edit=edit.model_copy(update={"concepts": ["Rome"]})
    )
    second = table[table["concept"] == "Rome"].reset_index(drop=True)
    pd.testing.assert_frame_equal(second, read_table(alone["edits"], EDITS))
    # Clamps run on the model that the edits leave behind.
    unedited = run_clamps(tiny, concepts, tmp_path / "unedited", edit=Edit(concepts=[]))
    for name in ("clamping", "favourite"):
        assert tables[name].read_bytes() == unedited[name].read_bytes()


def test_gate_is_left_out_where_there_is_none(tmp_path: Path) -> None:
    model = prepare(tmp_path / "gpt2", "gpt2")
    vocabulary, _ = make_map(model, tmp_path, top_k=2)
    assert set(read_table(vocabulary, VOCABULARY)["matrix"]) == {"up", "down"}
    assert read_provenance(vocabulary)["matrices_absent"] == ["gate"]


def test_unknown_words_and_missing_shards_are_one_sentence(tiny: Path, tmp_path: Path) -> None:
    search = ConceptSearch(concepts=[Concept(name="dog", words=["dog"])])
    stage = find_concepts.FindStage(seed=0, map=VocabularyMap(), search=search)
    outputs = {"concepts": tmp_path / "a.parquet", "concept_tokens": tmp_path / "b.parquet"}
    with pytest.raises(UserError, match="no spelling of 'dog'"):
        find_concepts.run(stage, model=tiny, **outputs)
    copy = tmp_path / "copy"
    shutil.copytree(tiny.parent, copy)
    (copy / "weights" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        find_concepts.run(stage, model=copy / "provenance.json", **outputs)


def test_more_tokens_than_the_head_has_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="top_k is 999"):
        make_map(tiny, tmp_path, top_k=999)


def test_tables_are_deterministic(tiny: Path, mapped: Path, tmp_path: Path) -> None:
    again, _ = make_map(tiny, tmp_path, top_k=4)
    assert again.read_bytes() == mapped.read_bytes()
    whole = read_table(make_map(tiny, tmp_path, parts=1, top_k=4)[0], VOCABULARY)
    pd.testing.assert_frame_equal(whole, read_table(mapped, VOCABULARY))
