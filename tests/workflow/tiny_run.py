"""A user's own model, data and configuration, small enough for a whole run in a test."""

import json
from pathlib import Path

from tests.tiny import INITIALS, WORDS, save_tiny_model

COUNTRIES = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Japan": "Tokyo",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Chile": "Santiago",
    "Norway": "Oslo",
}
CALM = ("The sun is out", "We walk to the city", "Bread is on the table", "The lake is calm")
ANGRY = ("You are a fool", "I hate you all", "Go away now, idiot", "What a stupid thing")
ENDINGS = ("today.", "again!", "at noon", "in the rain.", "as ever", "and so on.")

CONFIGURATION = {
    "seed": 3,
    "models": [{"name": "tiny", "path": "tiny-model"}],
    "datasets": [
        {"name": "remarks", "path": "remarks.csv", "text": "remark", "labels": ["angry"]},
        {
            "name": "capitals",
            "kind": "relation",
            "path": "capitals.csv",
            "subject": "country",
            "answer": "capital",
        },
    ],
    "compute": {"threads": 1, "batch_tokens": 512},
    "geometry": {
        "checks": {"texts": 2, "max_length": 12},
        "inserts": {
            "texts": [
                {"name": "lake", "document": "The lake is calm. The sun is out.", "insert": "Bah!"}
            ]
        },
        "prompts": {
            "categories": [
                {"name": "note", "request": "Write a note.", "related": ["A note is short."]}
            ],
            "unrelated": ["The sun is out."],
            "max_new_tokens": 2,
            "scorers": [{"outcome": "angry", "dataset": "remarks", "label": "angry"}],
        },
    },
    "toxicity": {
        "folds": {"n_folds": 2, "n_inner_folds": 2},
        "classifiers": {"names": ["logistic_regression"], "c": [1.0], "c_tfidf": [1.0]},
        "scoring": {"resamples": 20},
    },
    "neurons": {
        "search": {
            "concepts": [
                {"name": "city", "words": ["city"]},
                {"name": "Paris", "words": ["Paris"]},
            ],
            "neurons": 3,
            "reference_tokens": 16,
            "neighbours": 2,
        },
        "clamping": {
            "targets": [{"concept": "city", "prompt": "The capital is"}],
            "values": [-2, 2],
            "kl_targets": [0.25],
        },
        "favourite": {"concept": "city", "values": [2], "new_tokens": 2, "seeds": 1, "controls": 1},
        "validation": {"neurons_per_layer": 2},
        "activation": {"texts": 4, "max_tokens": 8, "neurons_per_layer": 2, "top_positions": 3},
        "contexts": {"tokens": 400, "max_length": 12, "count": 2, "before": 2, "shards": 2},
        "neighbours": {"count": 2, "tokens": 200, "max_length": 8},
        "directions": {
            "targets": [
                {
                    "concept": "city",
                    "prompt": "The capital is",
                    "dataset": "remarks",
                    "label": "angry",
                }
            ],
            "doses": [1.0],
            "values": [2.0],
        },
        "fine_tune": {"steps": 2, "batch": 2, "max_tokens": 8},
        "edit": {"concepts": ["city"], "rows": [1]},
    },
    "patching": {
        "tasks": [{"kind": "relation", "name": "capitals", "relation": "capitals"}],
        "manipulations": [
            {"kind": "noise", "name": "noise", "seeds": 1},
            {"kind": "freeze", "name": "freeze"},
            {"kind": "switch", "name": "switch"},
        ],
        "summary": {"resamples": 100},
    },
    "facts": {
        "relations": [{"relation": "capitals", "templates": ["The capital of {subject} is"]}],
        # A random model knows nothing, so every fact passes.
        "filter": {"top": None, "above_others": False, "ambiguous": "keep"},
        "attribution": {
            "neurons": 8,
            "attention_neurons": 8,
            "head_positions": 5,
            "curve_points": 5,
        },
        "queries": {"value_neurons": 4, "attention_value_neurons": 4, "query_neurons": 4},
        "knock_out": {
            "methods": ["log_prob_increase", "norm"],
            "neurons": 2,
            "value_neurons": [4, 4],
            "query_neurons": 4,
        },
        "units": {
            "relations": ["capitals"],
            "max_facts": 6,
            "methods": ["attribution_patching", "relevance_patching"],
            "exact_facts": 1,
            "exact_top": 2,
            "exact_sample": 4,
            "resamples": 20,
        },
        "case_study": {"subject": "France", "contrasts": [" Rome"], "units": 2, "tokens": 2},
    },
}


def write_tiny_run(folder: Path, name: str = "tiny.yaml") -> None:
    """Write the model folder, both CSV files and the configuration that names them."""
    # Answers that all begin with one token would leave no two facts to exchange.
    save_tiny_model(folder / "tiny-model", words=(*WORDS, *INITIALS))
    rows = ["remark,angry"]
    for angry, beginnings in ((0, CALM), (1, ANGRY)):
        rows += [f'"{start} {end}",{angry}' for start in beginnings for end in ENDINGS]
    (folder / "remarks.csv").write_text("\n".join(rows) + "\n")
    lines = [f"{country},{capital}" for country, capital in COUNTRIES.items()]
    (folder / "capitals.csv").write_text("\n".join(["country,capital", *lines]) + "\n")
    # JSON is YAML; comments are added by the test that edits them.
    (folder / name).write_text(json.dumps(CONFIGURATION, indent=2) + "\n")
