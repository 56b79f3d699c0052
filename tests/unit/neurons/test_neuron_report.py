"""Figures, captions and claims of the neuron study say what the tables say."""

from pathlib import Path

from llm_anatomy.config.neurons import (
    Activation,
    Clamping,
    ClampTarget,
    Comparison,
    FavouriteTest,
    Validation,
    VocabularyMap,
)
from llm_anatomy.figures.exhibit import read_exhibits
from llm_anatomy.neurons.claims import NeuronScope
from llm_anatomy.stages import (
    compare_models,
    conclude_neurons,
    find_concepts,
    validate_neurons,
)
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.neurons import EDITS

from tests.unit.neurons.conftest import prepare
from tests.unit.neurons.tools import PRECISION, SEARCH, make_map, run_clamps


def test_figures_and_claims_say_what_the_tables_say(tmp_path: Path) -> None:
    model = prepare(tmp_path / "results" / "models" / "tiny")
    folder = tmp_path / "results" / "neurons" / "tiny"
    vocabulary, statistics = make_map(model, folder, top_k=3)
    find_concepts.run(
        find_concepts.FindStage(seed=0, map=VocabularyMap(), search=SEARCH),
        model=model,
        concepts=folder / "concepts.parquet",
        concept_tokens=folder / "concept_tokens.parquet",
    )
    target = ClampTarget(concept="Paris", prompt="The capital is")
    run_clamps(
        model,
        folder / "concepts.parquet",
        folder,
        clamping=Clamping(targets=[target], kl_targets=[]),
        favourite=FavouriteTest(concept="Paris", values=[9], seeds=0, new_tokens=2, controls=1),
    )
    validation = Validation(neurons_per_layer=2, prompts=["The city"])
    validate_neurons.run(
        validate_neurons.ValidateStage(
            seed=0, precision=PRECISION, validation=validation, activation=Activation()
        ),
        model=model,
        vocabulary=vocabulary,
        texts=(),
        activation=(),
        validation=folder / "validation.parquet",
        sign_tests=folder / "sign_tests.parquet",
    )
    pair = folder.parent / "tiny-vs-tiny"
    compare_models.run(
        compare_models.CompareStage(map=VocabularyMap(top_k=3), comparison=Comparison()),
        model_a=model,
        model_b=model,
        vocabulary_a=vocabulary,
        agreement=pair / "agreement.parquet",
        changed=pair / "changed.parquet",
    )
    tables = (*pair.glob("*.parquet"), *folder.glob("[a-z]*.parquet"))
    figures = tmp_path / "figures" / "neurons"
    scope = NeuronScope(models=["tiny"], pairs=["tiny-vs-tiny"], favourite="Paris", tuned="")
    claims = tmp_path / "claims.parquet"
    conclude_neurons.run(scope, tables=tables, claims=claims, figures=figures)
    exhibits = read_exhibits(figures).exhibits
    assert len(exhibits) == 9
    edited = next(exhibit for exhibit in exhibits if exhibit.title.startswith("Removing"))
    probability = read_table(folder / "edits.parquet", EDITS)["probability"]
    assert f"{probability[0]:.2g} unedited, {probability[1]:.2g} with 4" in edited.caption
    assert statistics in tables
    rows = read_table(claims, CLAIMS)
    agreement = rows[rows["model"] == "tiny-vs-tiny"].iloc[0]
    assert agreement["measured_value"] == 1
    assert "100.0%" in exhibits[-1].caption
