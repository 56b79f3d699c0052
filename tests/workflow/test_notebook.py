"""The notebook's doors give the numbers of the run's own tables, and its figures."""

import subprocess
import sys

import llm_anatomy as la
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.workflow.tiny_run import CONFIGURATION, COUNTRIES


@pytest.fixture(scope="module")
def results(finished):
    return la.open(finished.folder / "results")


@pytest.fixture(scope="module")
def model(finished):
    return la.load(finished.folder / "results/models/tiny", batch_tokens=512)


def same(found, expected, **closeness):
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True),
        expected.reset_index(drop=True),
        check_dtype=False,
        **closeness,
    )


def test_every_table_of_the_run_is_listed_and_opens(results, finished):
    listed = results.tables()
    assert set(listed["path"]) == {str(p) for p in (finished.folder / "results").rglob("*.parquet")}
    for row in listed.itertuples():
        owner = {
            name: getattr(row, name)
            for name in listed.columns
            if name not in ("table", "rows", "path") and getattr(row, name)
        }
        assert len(results.table(row.table, **owner)) == row.rows, row
    assert results.models == ["tiny", "tiny-tuned"]


def test_what_a_question_leaves_open_becomes_a_column(results):
    layers = results.table("facts/layer_importance", model="tiny")
    assert set(layers["relation"]) == {"capitals"}
    some = results.table(
        "facts/layer_importance", ["layer", "importance"], [("layer", "=", 1)], model="tiny"
    )
    assert list(some.columns) == ["layer", "importance", "relation"]
    assert set(some["layer"]) == {1}
    assert results.provenance("facts/facts", model="tiny", relation="capitals")["model"] == "tiny"


def test_claims_are_the_runs(results, finished):
    stored = pd.read_parquet(finished.folder / "results/claims.parquet")
    same(results.claims, stored)


def test_figures_are_drawn_again_as_the_report_has_them(results, finished, tmp_path):
    drawn = {path.parent.name for path in (finished.folder / "results/figures").glob("*/*.png")}
    assert drawn >= {"anatomy", "patching", "facts"}
    for study in drawn:
        listed = results.figures(study)
        stored = {
            path.stem for path in (finished.folder / f"results/figures/{study}").glob("*.png")
        }
        assert set(listed["name"]) == stored
        name = listed["name"].iloc[-1]
        plt.close("all")
        figure = results.figure(study, name)
        assert plt.get_fignums() == [figure.number]
        la.save_figure(figure, tmp_path / "again.png")
        again = (finished.folder / f"results/figures/{study}/{name}.png").read_bytes()
        assert (tmp_path / "again.png").read_bytes() == again
        assert results.figure(study, name, width="column").get_figwidth() == 3.5
    plt.close("all")
    with pytest.raises(la.UserError, match="patching has no figure 'nothing'"):
        results.figure("patching", "nothing")


def test_importance_is_that_of_the_stage(model, results):
    facts = results.table("facts/facts", model="tiny", relation="capitals")
    stage = {
        unit: results.table(f"facts/{table}", model="tiny", relation="capitals")
        for unit, table in {
            "layers": "layer_importance",
            "heads": "head_importance",
            "positions": "position_importance",
        }.items()
    }
    for fact in facts.head(2).itertuples():
        for unit, table in stage.items():
            expected = table[table["example_id"] == fact.example_id].drop(columns="example_id")
            found = model.facts.importance(fact.prompt, fact.answer, unit)
            same(found.drop(columns="example_id"), expected, atol=1e-5)


def test_a_neurons_tokens_are_those_of_the_map(model, results):
    vocabulary = results.table("neurons/vocabulary", model="tiny")
    for layer, neuron in ((0, 5), (2, 47)):
        here = (vocabulary["layer"] == layer) & (vocabulary["neuron"] == neuron)
        same(model.neurons.tokens(layer=layer, neuron=neuron), vocabulary[here], atol=1e-5)
    with pytest.raises(la.UserError, match=r"neuron is 48, and layer 0 has 48"):
        model.neurons.tokens(layer=0, neuron=48)
    with pytest.raises(la.UserError, match="layer"):
        model.neurons.tokens(layer=3, neuron=0)


def test_a_found_neuron_has_the_word_among_its_tokens(model):
    search = CONFIGURATION["neurons"]["search"]
    keys = {name: search[name] for name in ("reference_tokens", "neighbours")}
    found = model.neurons.find("city", neurons=5, seed=3, **keys)
    assert len(found) == 5
    shown = 0
    for row in found.itertuples():
        tokens = model.neurons.tokens(layer=row.layer, neuron=row.neuron)
        own = tokens[(tokens["matrix"] == row.matrix) & (tokens["sign"] == row.sign)]
        if row.best_rank <= len(own):
            (at,) = own.loc[own["rank"] == row.best_rank, "token"]
            assert at.strip().lower() == "city"
            shown += 1
    assert shown


def test_a_sweep_is_that_of_the_stage(model, results):
    sweeps = results.table("patching/sweeps", model="tiny", task="capitals")
    found = model.patching.sweep(
        "The capital city of {subject} is", COUNTRIES, noise=1, freeze=True, seed=3
    )
    # Who gives states to whom is drawn by the task's name, so that some switches have other donors.
    keys = ["manipulation", "example_id", "donor_id", "layer", "seed"]
    both = found.merge(sweeps, on=keys, suffixes=("", "_of_stage"))
    counts = both["manipulation"].value_counts()
    for manipulation in ("none", "noise", "freeze"):
        assert counts[manipulation] == (sweeps["manipulation"] == manipulation).sum()
    assert counts["switch"] > 0
    assert (both["prediction"] == both["prediction_of_stage"]).all()
    for column in ("gold_logprob", "donor_logprob", "kl", "gold_rank", "donor_rank"):
        np.testing.assert_allclose(both[column], both[f"{column}_of_stage"], atol=1e-4)


def test_features_are_those_of_the_stage(model, results):
    texts = results.table("data/texts", dataset="remarks")
    stage = results.table("geometry/spline_features", model="tiny", dataset="remarks")
    found = model.geometry.features(list(texts["text"]))
    same(found.drop(columns="text_id"), stage.drop(columns="text_id"), atol=1e-5)


def test_importing_the_package_is_light():
    code = (
        "import sys, llm_anatomy as la; dir(la); la.__version__; "
        "print(sorted({'torch', 'pandas', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_mistakes_are_one_sentence(tmp_path, results):
    with pytest.raises(la.UserError, match="is no folder named 'results' and holds none"):
        la.open(tmp_path)
    with pytest.raises(la.UserError, match=r"no table 'facts/layer'; did you mean"):
        results.table("facts/layer")
    with pytest.raises(la.UserError, match="is no folder, no GGUF file and no hub id"):
        la.load("nowhere")
    with pytest.raises(la.UserError, match="needs a revision"):
        la.load("Qwen/Qwen2.5-0.5B")
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        la.lod  # noqa: B018
