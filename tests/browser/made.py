"""A small atlas of two models, written from tables made by hand; strangers' texts are hostile."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
from llm_anatomy.artefacts.files import atomic_folder
from llm_anatomy.atlas.chunks import write_part
from llm_anatomy.atlas.contexts import context_chunks
from llm_anatomy.atlas.facts import OF_MODELS, OF_RELATIONS, fact_chunks
from llm_anatomy.atlas.neurons import neuron_chunks
from llm_anatomy.atlas.overview import overview_chunks
from llm_anatomy.atlas.page import page_html, write_assets
from llm_anatomy.atlas.patching import patching_chunks
from llm_anatomy.atlas.texts import text_chunks
from llm_anatomy.tables import facts, geometry, neurons, patching, toxicity
from llm_anatomy.tables.anatomy import ANATOMY
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.collection import Collection
from llm_anatomy.tables.core import Column, TableSchema
from llm_anatomy.tables.data import TEXTS

from tests.unit.atlas.made import HOSTILE, context_tables, map_rows, write

# The second is a name that no configuration allows, and that a page must still only show.
MODELS = ("first", "<img src=x onerror=window.broken=1>")
PARTS = ("neurons", "contexts", "facts", "patching", "texts")
WORDS = (" dog", "dog", " Dog", " dogs", "hotdog", " cat", " 東京", " naïve", "\n", *HOSTILE)
LAYERS, NEURONS = 3, 60


def filled(schema: TableSchema, **values: Any) -> dict[str, Any]:
    """A row of a table in which only what a test is about is given."""
    row = {c.name: values.get(c.name, _empty(c)) for c in schema.columns if c.pattern is None}
    assert not set(values) - set(row), set(values) - set(row)
    return row


def _empty(column: Column) -> Any:
    if column.nullable:
        return None
    kinds = (
        (pa.types.is_boolean, False),
        (pa.types.is_integer, 0),
        (pa.types.is_floating, 0.0),
        (pa.types.is_list, []),
    )
    return next((value for is_kind, value in kinds if is_kind(column.type)), "")


def write_atlas(folder: Path) -> Path:
    """Write the atlas of both models below a folder; gives the page."""
    atlas = folder / "results/atlas"
    makers = {
        "neurons": _neurons,
        "contexts": lambda tables, model: context_chunks(
            context_tables(tables, model, LAYERS, NEURONS)[0], model, lambda token: WORDS[token]
        ),
        "facts": _facts,
        "patching": _patching,
        "texts": _texts,
    }
    for model in MODELS:
        for part, make in makers.items():
            with atomic_folder(atlas / part / model) as place:
                write_part(place, f"{part}/{model}", make(folder / "tables", model))
    with atomic_folder(atlas / "overview") as place:
        write_part(place, "overview", _overview(folder / "tables"))
    with atomic_folder(atlas / "assets") as place:
        write_assets(place, MODELS, PARTS)
    (atlas / "index.html").write_text(page_html(MODELS, PARTS), encoding="utf-8")
    shutil.rmtree(folder / "tables")
    return atlas / "index.html"


def _neurons(folder, model):
    vocabulary, statistics = map_rows(LAYERS, NEURONS, 4, WORDS, seed=len(model))
    concepts = [
        filled(
            neurons.CONCEPTS,
            concept="dog",
            rank=rank,
            layer=1,
            neuron=rank,
            matrix="up",
            sign=1,
            token=HOSTILE[1],
            specificity=1 / rank,
        )
        for rank in (1, 2, 3)
    ]
    clamps = [
        filled(
            neurons.CLAMPING,
            concept="dog",
            prompt="I have a",
            layer=1,
            neuron=1,
            operation="set" if value is not None else "none",
            role="concept",
            site="up",
            positions="all",
            value=value,
            probability=0.1 if value is None else 0.02 * (value + 5),
            top_tokens=[" dog", HOSTILE[0]],
            top_probabilities=[0.5, 0.1],
        )
        for value in (None, -4.0, 0.0, 4.0)
    ]
    paths = [
        write(folder, neurons.VOCABULARY, vocabulary, model=model),
        write(folder, neurons.STATISTICS, statistics, model=model),
        write(folder, neurons.CONCEPTS, concepts, model=model),
        write(folder, neurons.CLAMPING, clamps, model=model),
    ]
    return neuron_chunks(Collection(paths, neurons.TABLES), model)


def _facts(folder, model):
    subjects = {"france": "France", "italy": HOSTILE[1]}
    owner = {"model": model, "relation": "capitals"}
    fact = {"relation": "capitals"}
    rows: dict[TableSchema, list[dict[str, Any]]] = {
        schema: [] for schema in (*OF_RELATIONS.values(), *OF_MODELS.values(), facts.FACTS)
    }
    for example, subject in subjects.items():
        one = {"example_id": example}
        rows[facts.FACTS].append(
            filled(facts.FACTS, **one, **fact, subject=subject, answer="Paris", target=" Paris")
        )
        for layer in range(LAYERS):
            for kind in ("attention", "ffn"):
                numbers = {"layer": layer, "kind": kind, "importance": layer - 0.5}
                rows[facts.LAYER_IMPORTANCE].append(
                    filled(facts.LAYER_IMPORTANCE, **one, **numbers, top_token=HOSTILE[0])
                )
                rows[facts.QUERY_LAYERS].append(
                    filled(facts.QUERY_LAYERS, **one, **fact, values="ffn", layer=layer, kind=kind)
                )
            for head in range(2):
                rows[facts.HEAD_IMPORTANCE].append(
                    filled(facts.HEAD_IMPORTANCE, **one, layer=layer, head=head, importance=0.1)
                )
        for rank in range(1, 4):
            place = {**one, "rank": rank, "layer": rank - 1, "importance": 1 / rank}
            rows[facts.HEAD_POSITION_IMPORTANCE].append(
                filled(
                    facts.HEAD_POSITION_IMPORTANCE,
                    **place,
                    position=rank - 1,
                    position_token=HOSTILE[rank],
                )
            )
            rows[facts.NEURON_IMPORTANCE].append(
                filled(facts.NEURON_IMPORTANCE, **place, neuron=rank, top_tokens=HOSTILE[0])
            )
            rows[facts.ATTENTION_NEURON_IMPORTANCE].append(
                filled(facts.ATTENTION_NEURON_IMPORTANCE, **place, position_token=HOSTILE[1])
            )
            rows[facts.POSITION_IMPORTANCE].append(
                filled(
                    facts.POSITION_IMPORTANCE,
                    **one,
                    position=rank - 1,
                    position_token=HOSTILE[rank],
                )
            )
            rows[facts.QUERY_NEURONS].append(
                filled(facts.QUERY_NEURONS, **one, **fact, rank=rank, layer=0, neuron=rank)
            )
        for selection, logprob in (("original", -1.0), ("ffn", -3.5)):
            rows[facts.KNOCK_OUT].append(
                filled(facts.KNOCK_OUT, **one, **fact, selection=selection, logprob=logprob)
            )
    intake = [
        filled(
            facts.FACTS_INTAKE,
            example_id="x",
            subject=HOSTILE[1],
            template="The capital of {subject} is",
            chosen=True,
            outcome="not known",
        )
    ]
    paths = [
        write(folder, schema, own, **{name: owner[name] for name in schema.wildcards})
        for schema, own in {**rows, facts.FACTS_INTAKE: intake}.items()
    ]
    return fact_chunks(Collection(paths, facts.TABLES), model, ["capitals"])


def _patching(folder, model):
    owner = {"model": model, "task": "capitals"}
    examples = [
        filled(patching.EXAMPLES, example_id=e, prompt="The capital of", subject=s, answer="Paris")
        for e, s in (("france", "France"), ("italy", HOSTILE[1]))
    ]
    sweeps = [
        filled(
            patching.SWEEPS,
            example_id=example,
            manipulation=name,
            layer=layer,
            prediction=" Rome" if name == "switch" and layer else HOSTILE[0],
            correct=layer == 2,
            donor_correct=name == "switch" and layer == 1,
            gold_logprob=-float(layer + 1),
            gold_rank=layer + 1,
            donor_logprob=-2.0 if name == "switch" else None,
        )
        for example in ("france", "italy")
        for name in ("none", "noise", "switch")
        for layer in ([LAYERS] if name == "none" else range(LAYERS))
    ]
    curves = [
        filled(
            patching.CURVES,
            manipulation=name,
            subset="all",
            metric="exact_match",
            layer=layer,
            depth=layer / LAYERS,
            value=0.3 * layer,
            low=0.25 * layer,
            high=0.35 * layer,
            interval="wilson",
            examples=2,
            baseline=0.8,
        )
        for name in ("noise", "switch")
        for layer in range(LAYERS)
    ]
    pairs = [filled(patching.PAIRS, example_id="france", donor_id="italy")]
    made = {
        patching.EXAMPLES: examples,
        patching.SWEEPS: sweeps,
        patching.CURVES: curves,
        patching.PAIRS: pairs,
        patching.DEPTHS: [],
    }
    paths = [write(folder, schema, rows, **owner) for schema, rows in made.items()]
    return patching_chunks(Collection(paths, patching.TABLES), model, ["capitals"])


def _texts(folder, model):
    texts = {"one": "the calm lake", "two": f"{HOSTILE[0]} {HOSTILE[2]}", "three": HOSTILE[1]}
    owner = {"model": model, "dataset": "remarks"}
    rows = [
        {"text_id": text_id, "text": text, "label_angry": text_id == "two"}
        for text_id, text in texts.items()
    ]
    layers = range(LAYERS)
    traces = [
        filled(geometry.TRACES, text_id=text_id, n_tokens=3)
        | {f"l{layer}_active": [0.1, 0.2, 0.1 * layer] for layer in layers}
        | {f"l{layer}_distance": [1.0, 0.2, 0.01 + layer] for layer in layers}
        for text_id in texts
    ]
    features = [
        filled(geometry.SPLINE_FEATURES, text_id=text_id, n_tokens=3)
        | {f"l{layer}_f{f}": place + f for layer in layers for f in range(1, 8)}
        for place, text_id in enumerate(texts)
    ]
    dimensions = [
        filled(
            geometry.INTRINSIC_DIMENSION,
            text_id=text_id,
            position=2,
            layer=layer,
            threshold="relative",
            dimension=layer + 1,
        )
        for text_id in texts
        for layer in layers
    ]
    scores = [
        filled(
            toxicity.PREDICTIONS,
            text_id=text_id,
            label="angry",
            feature_set="spline",
            classifier="logistic_regression",
            truth=text_id == "two",
            score=0.2,
        )
        for text_id in texts
    ]
    # Patterns of columns are not in a schema's own list.
    paths = [
        _write_wide(folder, TEXTS, rows, dataset="remarks"),
        _write_wide(folder, geometry.TRACES, traces, **owner, shard="1", shards="1"),
        _write_wide(folder, geometry.SPLINE_FEATURES, features, **owner),
        write(folder, geometry.INTRINSIC_DIMENSION, dimensions, **owner),
        write(folder, toxicity.PREDICTIONS, scores, **owner),
    ]
    schemas = [
        TEXTS,
        geometry.TRACES,
        geometry.SPLINE_FEATURES,
        geometry.INTRINSIC_DIMENSION,
        toxicity.PREDICTIONS,
    ]
    tokens = {"remarks": {name: text.split(" ")[:3] + [""] * 3 for name, text in texts.items()}}
    tokens["remarks"] = {name: own[:3] for name, own in tokens["remarks"].items()}
    return text_chunks(Collection(paths, schemas), model, tokens)


def _write_wide(folder, schema, rows, **owner):
    import pandas as pd
    from llm_anatomy.tables.core import write_table

    path = folder / schema.path.format(**owner)
    write_table(path, schema, pd.DataFrame(rows), {})
    return path


def _overview(folder):
    claims = [
        filled(
            CLAIMS,
            paper="Someone 2024",
            claim=f"Claim {number} {HOSTILE[1]}",
            model=model,
            measured_value=0.5,
            holds=(True, False, None)[number % 3],
            # Of those without a verdict, every second was tested and left open.
            verdict=("holds", "fails", "untested", "holds", "fails", "undecided")[number % 6],
            note="A reason.",
        )
        for model in MODELS
        for number in range(12)
    ]
    layers = [
        filled(ANATOMY, study=study, series=HOSTILE[1], layer=layer, value=float(layer))
        for study in ("geometry", "neurons", "patching", "facts")
        for layer in range(LAYERS)
    ]
    paths = [write(folder, ANATOMY, layers, model=model) for model in MODELS]
    paths.append(write(folder, CLAIMS, claims, study="facts"))
    tables = Collection(paths, [ANATOMY, CLAIMS, neurons.AGREEMENT, neurons.CHANGED])
    return overview_chunks(tables, MODELS, ["facts"], [])
