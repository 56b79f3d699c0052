"""Whatever is drawn is drawn with the configuration's seed, from the stream of its purpose."""

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import llm_anatomy
import numpy as np
import pandas as pd
import pytest
import torch
from llm_anatomy.attribution.areas import JudgedCurve, resampled_facts
from llm_anatomy.attribution.experiment import random_ranking
from llm_anatomy.attribution.faithfulness import FaithfulnessCurve
from llm_anatomy.attribution.grids import average_effects, corrupted_facts
from llm_anatomy.attribution.pairs import halves, pair_facts
from llm_anatomy.attribution.sites import Site, Unit
from llm_anatomy.attribution.study import sample_of_layers
from llm_anatomy.config.attribution import Grids
from llm_anatomy.config.contexts import Contexts, Neighbours
from llm_anatomy.config.datasets import Part
from llm_anatomy.config.detectors import DetectorComparison
from llm_anatomy.config.facts import FactFilter
from llm_anatomy.config.geometry import InsertedText, PromptCategory
from llm_anatomy.config.neurons import Activation
from llm_anatomy.config.patching import ArithmeticTask, PatchingSummary, RelationTask, Switch
from llm_anatomy.config.toxicity import (
    Baselines,
    Classifiers,
    EarlyExit,
    Folds,
    Scoring,
)
from llm_anatomy.data.intake import Intake
from llm_anatomy.data.mixture import mixed_texts
from llm_anatomy.data.sampling import lowest
from llm_anatomy.facts.claims import FactsScope, facts_claims
from llm_anatomy.facts.prompts import Question, judge, sample
from llm_anatomy.facts.selections import RandomUnits
from llm_anatomy.geometry.claims import prompt_claims
from llm_anatomy.geometry.correlation import correlation_frame
from llm_anatomy.geometry.experiment import trace_inserts
from llm_anatomy.geometry.outcomes import train_scorer
from llm_anatomy.geometry.prompts import build_prompts
from llm_anatomy.model.parts.resolve import resolve
from llm_anatomy.model.run.loading import LoadedModel
from llm_anatomy.model.run.replay import Replay
from llm_anatomy.model.run.vocabulary import Vocabulary
from llm_anatomy.neurons.activation import sample_texts
from llm_anatomy.neurons.concepts import control_neurons
from llm_anatomy.neurons.contexts import context_texts
from llm_anatomy.neurons.directions import held_out_auc, permuted_direction, random_direction
from llm_anatomy.neurons.favourite import ClampedGeneration, Trial, clamped_answers
from llm_anatomy.neurons.neighbours import neighbour_texts
from llm_anatomy.neurons.overlap import LayerOverlap, overlap_table
from llm_anatomy.neurons.sample import sample_neurons
from llm_anatomy.neurons.search import reference_words
from llm_anatomy.neurons.tuning import split_held
from llm_anatomy.patching.examples import build_task
from llm_anatomy.patching.floors import span_floors, word_floors
from llm_anatomy.patching.manipulations import Positions, RandomEdit
from llm_anatomy.patching.prompts import TaskExample
from llm_anatomy.patching.summary import summarise_sweeps
from llm_anatomy.patching.tasks import TaskItem, arithmetic_items
from llm_anatomy.statistics import random
from llm_anatomy.statistics.folds import inner_splits
from llm_anatomy.statistics.random import Purpose
from llm_anatomy.tables import facts as facts_tables
from llm_anatomy.tables.facts import (
    CURVE,
    FACTS,
    KNOCK_OUT,
    LAYER_SUMMARY,
    METHOD_LAYERS,
    NEURON_IMPORTANCE,
    QUERY_NEURONS,
    SHARED_NEURONS,
)
from llm_anatomy.tables.patching import FLOORS, SWEEPS
from llm_anatomy.toxicity import latency
from llm_anatomy.toxicity.classifiers import BoostingRecipe, random_forest
from llm_anatomy.toxicity.compared import area_gain
from llm_anatomy.toxicity.comparison import ComparisonSettings
from llm_anatomy.toxicity.evaluate import LabelledTexts
from llm_anatomy.toxicity.first_token import sparse_fits
from llm_anatomy.toxicity.folds import split_texts
from llm_anatomy.toxicity.maps import place_texts
from llm_anatomy.toxicity.metrics import measure
from llm_anatomy.toxicity.negatives import with_negatives
from llm_anatomy.toxicity.operating import error_if_calibrated, mean_interval
from llm_anatomy.toxicity.self_training import keep_labels
from llm_anatomy.toxicity.subgroups import area_of

from tests.tiny import tiny_model, tiny_tokenizer
from tests.unit.neurons.test_overlap import compared, random_layer
from tests.unit.verdicts import at, collect

PACKAGE = Path(llm_anatomy.__file__).parent
DRAWING = {"keyed_generator", "keyed_rank", "library_seed"}
# Purposes that more than one module names, and why that is meant.
NAMED_TWICE: dict[Purpose, set[str]] = {}
# What a draw is made for where a function is told: the modules that tell it are in the registry.
TOLD = {"purpose", "PURPOSES[self.kind]"}
# Draws that are the same whatever the configuration's seed is, and why.
CONSTANT = {
    Purpose.NORM_PROBE: "what a probe finds out does not depend on its numbers",
    Purpose.WORKED_SUMS: "a built-in data set has the same bytes everywhere",
}
# Draws of a library whose outcome does not depend on them, and why.
SAME_ANYWAY = {Purpose.TSNE: "its start is a decomposition, and what follows is no chance"}
# Functions of libraries that take a random state and draw nothing as they are called here.
DRAW_NOTHING = {
    "LogisticRegression": "lbfgs draws nothing",
    "LogisticRegressionCV": "its folds are given, and newton-cholesky draws nothing",
    "PCA": "the full decomposition draws nothing",
}
# Names by which generators, or draws from a global one, are made outside the one home of draws.
GENERATORS = {
    *("default_rng", "RandomState", "Generator", "Philox", "PCG64", "SeedSequence"),
    *("manual_seed", "manual_seed_all", "set_seed", "normal_", "uniform_", "random_"),
    *("bernoulli_", "exponential_", "cauchy_", "log_normal_", "geometric_"),
}
# Of torch alone: a generator of numpy has methods of these names.
OF_TORCH = {
    ("torch", name)
    for name in (
        "rand",
        "randn",
        "randint",
        "randperm",
        "multinomial",
        "bernoulli",
        "normal",
        "poisson",
        "rand_like",
        "randn_like",
        "randint_like",
        "dropout",
        "seed",
        "fork_rng",
    )
}
SEEDS = range(4)

Draw = Callable[["Drawn", int], Any]


@cache
def calls() -> list[tuple[str, ast.Call]]:
    """Every call in the package, with its module, but those in the home of draws."""
    return [
        (file.relative_to(PACKAGE).as_posix(), node)
        for file in sorted(PACKAGE.rglob("*.py"))
        if file != Path(inspect.getfile(random))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def named_purposes() -> dict[Purpose, set[str]]:
    """Modules that name each purpose."""
    found: dict[Purpose, set[str]] = defaultdict(set)
    for file in sorted(PACKAGE.rglob("*.py")):
        if file == Path(inspect.getfile(random)):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Purpose":
                found[Purpose[node.attr]].add(file.relative_to(PACKAGE).as_posix())
    return found


def test_every_purpose_is_drawn_for_in_one_module() -> None:
    found = named_purposes()
    assert set(found) == set(Purpose)
    shared = {purpose: modules for purpose, modules in found.items() if len(modules) > 1}
    assert shared == NAMED_TWICE


def test_a_purpose_is_named_at_one_place_of_its_module() -> None:
    """Two draws with one purpose and one key would be the same numbers."""
    places: dict[Purpose, int] = defaultdict(int)
    for _, node in calls():
        if called(node) in DRAWING:
            purpose = ast.unparse(node.args[1])
            if purpose not in TOLD:
                places[Purpose[purpose.removeprefix("Purpose.")]] += 1
    # Geometry's two claims have keys of their own.
    assert {purpose for purpose, count in places.items() if count > 1} == {Purpose.GEOMETRY_CLAIMS}


def test_draws_take_the_seed_that_they_are_given() -> None:
    constant = set()
    for module, node in calls():
        if called(node) in DRAWING:
            seed = ast.unparse(node.args[0])
            if seed not in ("seed", "self.seed"):
                constant.add((ast.unparse(node.args[1]), seed.endswith("_SEED"), module))
    assert {purpose for purpose, _, _ in constant} == {
        f"Purpose.{purpose.name}" for purpose in CONSTANT
    }
    assert all(named for _, named, _ in constant)


def test_no_generator_is_made_elsewhere() -> None:
    made = set()
    for module, node in calls():
        home, _, name = ast.unparse(node.func).rpartition(".")
        if name in GENERATORS or "random" in home.split(".") or (home, name) in OF_TORCH:
            made.add((module, f"{home}.{name}"))
    assert made == set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert "random" not in {alias.name for alias in node.names}, file
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("random", "numpy.random", "torch.random"), file


SEEDED = ("settings.seed", "seed")


def given_seed(node: ast.Call, function: Any) -> str | None:
    """What a call hands on as the parameter `seed`; none where it leaves it out."""
    for word in node.keywords:
        if word.arg == "seed":
            return ast.unparse(word.value)
    place = list(inspect.signature(function).parameters).index("seed")
    if any(isinstance(each, ast.Starred) for each in node.args[: place + 1]):
        # How many arguments a star stands for is not written there.
        return next((word for each in node.args if (word := ast.unparse(each)) in SEEDED), None)
    return ast.unparse(node.args[place]) if place < len(node.args) else None


def test_a_stage_hands_its_seed_to_whatever_draws() -> None:
    """A constant, or a default that nobody overrides, would be the same draws for every seed."""
    handed = 0
    for file in sorted((PACKAGE / "stages").glob("*.py")):
        module = import_module(f"llm_anatomy.stages.{file.stem}")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            function = getattr(module, node.func.id, None)
            if inspect.isfunction(function) and "seed" in inspect.signature(function).parameters:
                assert given_seed(node, function) in SEEDED, (file, node.lineno)
                handed += 1
    assert handed > 15


def test_rules_give_stages_the_seed_of_the_configuration() -> None:
    rules = sorted((PACKAGE.parents[1] / "rules").glob("*.smk"))
    given = [
        value
        for file in rules
        for value in re.findall(r"\bseed=([^,)\s]+)", file.read_text(encoding="utf-8"))
    ]
    assert len(given) > 15
    assert set(given) == {"CONFIG.seed"}


def imported_from_libraries() -> Iterator[tuple[str, Any]]:
    """What the package imports from scikit-learn, SciPy and seaborn, by its name there."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(
                ("sklearn.", "scipy.")
            ):
                module = import_module(str(node.module))
                yield from ((alias.name, getattr(module, alias.name)) for alias in node.names)


def parameters(thing: Any) -> set[str]:
    try:
        return set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):  # a constant, or a class without a signature
        return set()


def test_libraries_that_draw_are_given_a_seed_of_a_purpose() -> None:
    drawing = {
        name
        for name, thing in imported_from_libraries()
        if {"random_state", "seed", "rng"} & parameters(thing)
    }
    assert {"RandomForestClassifier", "TSNE"} < drawing
    seen = set()
    for module, node in calls():
        if (name := called(node)) in drawing - set(DRAW_NOTHING):
            seen.add(name)
            given = [word.value for word in node.keywords if word.arg == "random_state"]
            assert len(given) == 1, (module, name)
            assert isinstance(given[0], ast.Call), (module, name)
            assert called(given[0]) == "library_seed", (module, name)
    assert seen == drawing - set(DRAW_NOTHING)


def test_pictures_draw_nothing_at_random() -> None:
    """seaborn jitters points and resamples intervals with numpy's global generator."""
    for module, node in calls():
        if ast.unparse(node.func) == "sns.stripplot":
            (jitter,) = [word.value for word in node.keywords if word.arg == "jitter"]
            assert ast.unparse(jitter) == "False", module
        assert ast.unparse(node.func) not in (
            "sns.lineplot", "sns.barplot", "sns.pointplot", "sns.regplot", "sns.violinplot",
        ), module  # fmt: skip


class Drawn:
    """What draws are made from: a tiny model, and a folder for tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokenizer = tiny_tokenizer()
        self.model = LoadedModel(resolve(tiny_model("llama")), self.tokenizer, {})
        self.tokenizer.save_pretrained(folder)
        self.vocabulary = Vocabulary(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return Drawn(tmp_path_factory.mktemp("drawn"))


UNITS = [Unit(Site("ffn", layer), number) for layer in range(2) for number in range(20)]
PAIRED = pd.DataFrame(
    {
        "example_id": [*"abcdefghi"],
        "tokens": [[n, 1] for n in range(9)],
        "gold_token": range(9),
    }
)
TEXTS = [f"Text {n} says {n * n} and {n % 7}, then stops." for n in range(40)]
NUMBERS = np.random.default_rng(1)
VALUES = NUMBERS.normal(size=(60, 6))
SCORES = NUMBERS.normal(size=60)
TRUTH = np.arange(60) % 3 == 0
FOLD = np.arange(60) % 4
STATES = torch.from_numpy(NUMBERS.normal(size=(2, 5, 8))).float()
FACT = ("capitals", "France")
QUESTIONS = [Question(str(n), f"S{n}", ("a",), "p", (0,), {"a": (1, 1)}) for n in range(30)]
USED = judge(QUESTIONS, torch.eye(4)[[1] * 30].log_softmax(-1), FactFilter(top=1))
RELATION = RelationTask(name="capitals", relation="capitals")
COUNTRIES = [
    {"example_id": name, "subject": name, "answers": [city], "prompt": None}
    for name, city in zip(
        ("Peru", "Chile", "Italy", "Togo", "Chad", "Fiji", "Oman", "Mali"),
        ("Lima", "Ara", "Rome", "Dion", "Gao", "Suva", "Pune", "Boma"),
        strict=True,
    )
]
EXAMPLES = [
    TaskExample(
        TaskItem(str(n), "p", ("one two",), source=" one two three four" * 5),
        (1,),
        None,
        1,
        (1,),
        1,
    )
    for n in range(9)
]


class Numbered(int):
    """A thing with a place in its source."""

    @property
    def number(self) -> int:
        return int(self)


def items() -> list[Numbered]:
    return [Numbered(n) for n in range(1, 101)]


def mixture(world: Drawn, seed: int) -> list[str]:
    tables = {
        "own": pd.DataFrame({"text_id": [str(n) for n in range(9)], "text": "one two three four"}),
        "other": pd.DataFrame({"text_id": [str(n) for n in range(9)], "text": list("ABCDEFGHI")}),
    }
    parts = [Part(dataset="own", insert="other", positive=["x"])]
    return [item.text for item in mixed_texts(parts, tables, seed, Intake())]


def passages(world: Drawn, seed: int) -> list[str]:
    """Which passage each text has, wherever it stands."""
    return [text.strip("onetwhrfu ") for text in mixture(world, seed)]


def passage_places(world: Drawn, seed: int) -> list[int]:
    """Words before the passage, whichever it is."""
    return [
        next(n for n, word in enumerate(text.split()) if word.isupper())
        for text in mixture(world, seed)
    ]


def insert_places(world: Drawn, seed: int) -> list[int]:
    document = " ".join(f"The city is Rome {n}." for n in range(9))
    inserts = [InsertedText(name=name, document=document, insert="Oh no!") for name in "ab"]
    return trace_inserts(world.model, inserts, seed, 200)[1]["start"].tolist()


def control_prompts(condition: str) -> Draw:
    category = PromptCategory(name="boat", request="Go.", related=["It is an old boat.", "Yes."])
    return lambda world, seed: [
        prompt.prefix
        for prompt in build_prompts([category], ["Snow fell."], [condition], world.tokenizer, seed)
    ]


def scorer_folds(world: Drawn, seed: int) -> float:
    words = np.random.default_rng(0).choice(["an", "be", "cat", "do"], size=(60, 12))
    return train_scorer([" ".join(row) for row in words], TRUTH, seed).roc_auc


def claims_on_dimension(world: Drawn, seed: int) -> list[Any]:
    prompts = pd.DataFrame(
        [
            {
                "prompt_id": f"{kind}{step}", "category": "a", "condition": kind, "step": step,
                "format": "raw", "context_length": 10 + step, "last": 50 + 3 * step * step + more,
            }
            for kind, more in (("related", 9), ("unrelated", 2))
            for step in range(1, 9)
        ]
    )  # fmt: skip
    last = prompts[["prompt_id"]].assign(layer=1, dimension=prompts["last"] * (1 + TRUTH[:16]))
    first = prompts[["prompt_id"]].assign(layer=0, dimension=9)
    dimension = pd.concat([first, last]).assign(threshold="relative")
    outcomes = prompts[["prompt_id"]].assign(
        outcome="harmful", score=0.5, positive=np.arange(16) % 2 == 0
    )
    correlations = correlation_frame(prompts, dimension, outcomes)
    rows = prompt_claims("m", prompts, dimension, outcomes, correlations, seed)
    return [(row["low"], row["high"]) for row in rows if not np.isnan(row["low"] or np.nan)]


def outer_folds(world: Drawn, seed: int) -> list[int]:
    texts = pd.DataFrame(
        {"text_id": [str(n) for n in range(40)], "text": TEXTS, "label_bad": TRUTH[:40]}
    ).astype({"label_bad": "boolean"})
    return (
        split_texts(texts, Folds(n_folds=4, similarity=1.0), seed, "texts").folds["fold"].tolist()
    )


def negatives_folds(world: Drawn, seed: int) -> list[int]:
    own = LabelledTexts("bad", TEXTS, np.arange(40), TRUTH[:40], np.arange(40) % 4, np.arange(40))
    easy = [f"other {text}" for text in TEXTS]
    found = with_negatives(own, TEXTS, easy, easy, [None] * 80, "both", 1.0, 4, seed)
    return [int(fold) for fold in found.folds]


def inner_folds(world: Drawn, seed: int) -> list[list[int]]:
    return [test.tolist() for _, test in inner_splits(TRUTH, np.arange(60), 3, seed)]


def metrics(world: Drawn, seed: int) -> list[float]:
    found = measure(SCORES, TRUTH, FOLD, np.arange(60), [0.05], 40, 0.95, seed)
    return [number for each in found for number in (each.low, each.high)]


def labelled() -> LabelledTexts:
    return LabelledTexts("bad", TEXTS, np.arange(60), TRUTH, FOLD, np.arange(60))


def added(world: Drawn, seed: int) -> list[float]:
    settings = ComparisonSettings(
        seed=seed,
        folds=Folds(),
        classifiers=Classifiers(),
        scoring=Scoring(resamples=40),
        baselines=Baselines(),
        comparison=DetectorComparison(),
    )
    return list(area_gain(SCORES, VALUES[:, 0], labelled(), settings))


def sparse_weights(world: Drawn, seed: int) -> list[float]:
    found = sparse_fits(VALUES, TRUTH, [0.2], 1000, seed)[0]
    return [*found.weights.tolist(), *found.intercept.tolist()]


def timed_texts(world: Drawn, seed: int) -> list[list[int]]:
    with pytest.MonkeyPatch.context() as patch:
        timed: list[list[int]] = []

        def time_texts(decoder: Any, batches: Any, depths: Any) -> list[Any]:
            timed.extend(batch.input_ids[0].tolist() for batch in batches)
            return []

        patch.setattr(latency, "time_texts", time_texts)
        latency.time_early_exit(
            world.model, TEXTS, EarlyExit(n_layers=[1], timed_texts=3), 32, seed
        )
        return timed


def mapped_texts(world: Drawn, seed: int) -> list[int]:
    return place_texts(VALUES, "pca", True, 10, 5.0, seed).rows.tolist()


def embedded(world: Drawn, seed: int) -> list[list[float]]:
    return place_texts(VALUES, "tsne", True, 99, 5.0, seed).places.tolist()


def reference(of: slice) -> Draw:
    def drawn(world: Drawn, seed: int) -> list[int]:
        words = set(world.vocabulary.word_tokens())
        found = reference_words(world.vocabulary, [], 5, seed)
        return [token for token in found if (token in words) == (of.start is None)]

    return drawn


def sampled_answers(world: Drawn, seed: int) -> list[list[int]]:
    generation = ClampedGeneration(1, "activation", "all", 6, 5.0, frozenset())
    trials = [Trial(3, None, (seed, question, 1)) for question in ("Why?", "Who?")]
    return clamped_answers(world.model.decoder, [5, 9, 4], trials, generation)


def donors(world: Drawn, seed: int) -> list[tuple[str, str]]:
    built = build_task(
        RELATION, COUNTRIES, world.tokenizer, manipulations=[Switch(name="switch")], seed=seed
    )
    return list(zip(built.pairs["example_id"], built.pairs["donor_id"], strict=True))


def sampled_examples(world: Drawn, seed: int) -> list[str]:
    few = RELATION.model_copy(update={"max_examples": 3})
    return build_task(few, COUNTRIES, world.tokenizer, seed=seed).examples["example_id"].tolist()


def arithmetic(world: Drawn, seed: int) -> list[str]:
    task = ArithmeticTask(name="sums", operation="add", first=(1, 9), second=(1, 9))
    return [item.example_id for item in arithmetic_items(task, seed).items]


def edited(kind: str) -> Draw:
    return lambda world, seed: RandomEdit(kind, seed, ("a", "b"), Positions(), degrees=40.0)(
        1, STATES, 0
    ).tolist()


def curves(world: Drawn, seed: int) -> list[float]:
    rows = [
        {
            "example_id": str(n), "manipulation": name, "donor_id": None, "strength": None,
            "layer": 4 if name == "none" else 1, "seed": 0, "correct": n % 2 == 0,
            "gold_logprob": float(n), "kl": float(n * n),
        }
        for n in range(8) for name in ("none", "freeze")
    ]  # fmt: skip
    sweeps = SWEEPS.frame({column.name: None for column in SWEEPS.columns} | row for row in rows)
    floors = FLOORS.frame([{"metric": "correct", "floor": "uniform", "value": 0.1}])
    found = summarise_sweeps(sweeps, floors, PatchingSummary(resamples=100), seed)[0]
    return found.loc[found["interval"] == "bootstrap", "low"].tolist()


def claims_on_facts(world: Drawn, seed: int) -> list[Any]:
    switched = ("ffn", "random"), ("ffn", "log_prob_increase"), ("original", "")
    rows = [
        {
            "relation": "capitals", "example_id": str(n), "selection": selection,
            "method": method, "rank": 1 + n % (4 if method else 3),
        }
        for n in range(12) for selection, method in switched
    ]  # fmt: skip
    own = [
        {"relation": "capitals", "example_id": str(n), "attention": float(n), "ffn": n * n / 9}
        for n in range(12)
    ]
    made = {
        at(KNOCK_OUT, model="m"): rows,
        **{at(schema, model="m"): [] for schema in (LAYER_SUMMARY, QUERY_NEURONS, SHARED_NEURONS)},
        at(METHOD_LAYERS, model="m"): [],
        at(FACTS, model="m", relation="capitals"): own,
        **{at(s, model="m", relation="capitals"): [] for s in (CURVE, NEURON_IMPORTANCE)},
    }
    tables = collect(world.folder / "facts", facts_tables.TABLES, made, dtype="float32")
    found = facts_claims(tables, FactsScope(seed=seed, models=["m"], relations=["capitals"]))
    return [(row["claim"], row["low"], row["high"]) for row in found if row["low"] is not None]


def counterfactuals(world: Drawn, seed: int) -> list[str]:
    facts = pd.DataFrame(
        {"example_id": list("abcdefgh"), "tokens": [[1, 2]] * 8, "gold_token": range(8)}
    )
    return [pair.other_id for pair in pair_facts(facts, seed)[0]]


def faithfulness(world: Drawn, seed: int) -> list[Any]:
    values = torch.from_numpy(VALUES[:9, :2])
    curve = FaithfulnessCurve((0.5, 1.0), values, values, values[:, 0] + 9, values[:, 1] - 9)
    judged = JudgedCurve(curve, resampled_facts(9, 40, seed))
    return [*(row["low"] for row in judged.rows({})), judged.areas({})["cpr_low"]]


def own_texts() -> dict[str, pd.DataFrame]:
    return {"a": pd.DataFrame({"text_id": [str(n) for n in range(40)], "text": TEXTS})}


def words_and_contexts(seed: int) -> LayerOverlap:
    return compared(*random_layer(0), seed=seed)[1]


def tracing_noise(world: Drawn, seed: int) -> list[Any]:
    text = "The city of Rome is"
    facts = pd.DataFrame(
        {
            "example_id": ["a"], "subject": ["Rome"], "prompt": [text], "gold_token": [5],
            "tokens": [world.tokenizer(text)["input_ids"]],
        }
    )  # fmt: skip
    asked = Grids(corruptions=["noise"])
    replay = Replay(world.model.decoder)
    found, why = corrupted_facts(replay, world.tokenizer, facts, facts, asked, seed)
    assert found, why
    return [fact.starts.tolist() for fact in found]


def indirect_effects(world: Drawn, seed: int) -> list[float]:
    grid = pd.DataFrame(
        {
            "corruption": "noise", "restored": "state", "window": 1, "role": "last", "layer": 0,
            "example_id": [str(n) for n in range(9)], "effect": VALUES[:9, 0],
            "contrast_effect": 0.0,
        }
    )  # fmt: skip
    return average_effects(grid, 40, seed)["low"].tolist()


DRAWS: dict[Purpose, Draw] = {
    Purpose.TRACING_NOISE: tracing_noise,
    Purpose.TRACING_EFFECTS: indirect_effects,
    Purpose.DATA_SAMPLE: lambda world, seed: lowest(items(), 9, seed)[0],
    Purpose.PASSAGES: passages,
    Purpose.PASSAGE_PLACES: passage_places,
    Purpose.INSERT_PLACES: insert_places,
    Purpose.SHUFFLED_TOKENS: control_prompts("shuffled"),
    Purpose.RANDOM_TOKENS: control_prompts("random"),
    Purpose.SCORER_FOLDS: scorer_folds,
    Purpose.GEOMETRY_CLAIMS: claims_on_dimension,
    Purpose.FOLDS: outer_folds,
    Purpose.NEGATIVES_FOLDS: negatives_folds,
    Purpose.INNER_FOLDS: inner_folds,
    Purpose.FOREST: lambda world, seed: (
        random_forest(1, 3, seed).fit(VALUES, TRUTH).predict_proba(VALUES).tolist()
    ),
    Purpose.BOOSTING: lambda world, seed: (
        BoostingRecipe((0.1,), 5).path(VALUES, TRUTH, VALUES, [0.1], seed).tolist()
    ),
    Purpose.METRICS: metrics,
    Purpose.KEPT_LABELS: lambda world, seed: keep_labels(
        TRUTH, np.arange(60), 0.3, seed, 1
    ).tolist(),
    Purpose.MAPPED_TEXTS: mapped_texts,
    Purpose.TSNE: embedded,
    Purpose.SPARSE_ORDER: sparse_weights,
    Purpose.ADDED: added,
    Purpose.CALIBRATION: lambda world, seed: mean_interval(SCORES, labelled(), 40, 0.9, seed),
    Purpose.RIGHT_PROBABILITIES: lambda world, seed: error_if_calibrated(SCORES**2 / 9, 5, seed),
    Purpose.SUBGROUPS: lambda world, seed: area_of(
        SCORES, labelled(), FOLD > 0, Scoring(resamples=40), seed
    ),
    Purpose.TIMED_TEXTS: timed_texts,
    Purpose.REFERENCE_WORDS: reference(slice(None)),
    Purpose.REFERENCE_FRAGMENTS: reference(slice(1)),
    Purpose.CONTROL_NEURONS: lambda world, seed: control_neurons(1, 3, 48, 5, seed),
    Purpose.SAMPLED_ANSWERS: sampled_answers,
    Purpose.SAMPLED_NEURONS: lambda world, seed: sample_neurons(48, 5, seed, 1),
    Purpose.ACTIVATION_TEXTS: lambda world, seed: sample_texts(
        world.tokenizer, TEXTS, Activation(texts=4), seed
    )[0],
    Purpose.CONTEXT_TEXTS: lambda world, seed: (
        context_texts(world.model, own_texts(), Contexts(tokens=300), seed).text_ids
    ),
    Purpose.SHUFFLED_WORDS: lambda world, seed: [
        values.tolist() for values in words_and_contexts(seed).shuffles.values()
    ],
    Purpose.CONTEXT_OVERLAP: lambda world, seed: overlap_table(
        [words_and_contexts(seed)], 40, seed
    )["low"].tolist(),
    Purpose.NEIGHBOUR_TEXTS: lambda world, seed: (
        neighbour_texts(world.model, own_texts(), Neighbours(tokens=300), seed).text_ids
    ),
    Purpose.RANDOM_DIRECTIONS: lambda world, seed: random_direction(
        torch.from_numpy(SCORES), seed, "dog"
    ).tolist(),
    Purpose.PERMUTED_LABELS: lambda world, seed: permuted_direction(
        torch.from_numpy(VALUES), TRUTH, seed, "dog"
    ).tolist(),
    Purpose.DIRECTION_HALVES: lambda world, seed: held_out_auc(
        torch.from_numpy(VALUES), TRUTH, np.arange(60), seed
    ),
    Purpose.TUNING_TEXTS: lambda world, seed: split_held([[n] for n in range(30)], seed),
    Purpose.PATCHING_SAMPLE: sampled_examples,
    Purpose.ARITHMETIC: arithmetic,
    Purpose.DONORS: donors,
    Purpose.NOISE: edited("noise"),
    Purpose.SHUFFLE: edited("shuffle"),
    Purpose.ANGLE: edited("angle"),
    Purpose.RANDOM_SPAN: lambda world, seed: span_floors(EXAMPLES, seed),
    Purpose.RANDOM_WORDS: lambda world, seed: word_floors(EXAMPLES, seed),
    Purpose.PATCHING_CURVES: curves,
    Purpose.FACTS_SAMPLE: lambda world, seed: [
        outcome.question.example_id for outcome in sample(USED, 5, [], seed, "capitals")
    ],
    Purpose.RANDOM_FFN_NEURONS: lambda world, seed: RandomUnits(world.model.decoder, seed).ffn(
        5, FACT, "ffn"
    ),
    Purpose.RANDOM_ATTENTION_NEURONS: lambda world, seed: (
        RandomUnits(world.model.decoder, seed).attention(5, FACT).to_numpy().tolist()
    ),
    Purpose.RANDOM_HEADS: lambda world, seed: RandomUnits(world.model.decoder, seed).heads(3, FACT),
    Purpose.RANDOM_LAYERS: lambda world, seed: RandomUnits(world.model.decoder, seed).layers(
        3, FACT
    ),
    Purpose.FACTS_CLAIMS: claims_on_facts,
    Purpose.PAIRS: counterfactuals,
    Purpose.HALVES: lambda world, seed: [
        [pair.example_id for pair in half] for half in halves(PAIRED, seed, "skip_pair", None)[:2]
    ],
    Purpose.RANDOM_RANKING: lambda world, seed: random_ranking(UNITS, seed),
    Purpose.EXACT_SAMPLE: lambda world, seed: sample_of_layers(UNITS, set(), 8, seed),
    Purpose.FAITHFULNESS: faithfulness,
}


def test_every_purpose_has_a_draw_here() -> None:
    assert set(DRAWS) | set(CONSTANT) == set(Purpose)
    assert not set(DRAWS) & set(CONSTANT)


@pytest.mark.parametrize("purpose", DRAWS, ids=lambda purpose: purpose.name)
def test_another_seed_gives_other_draws_and_the_same_seed_the_same(
    purpose: Purpose, world: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[tuple[int, Purpose]] = set()
    digest = random._digest

    def watched(seed: int, purpose: Purpose, *key: random.Key) -> bytes:
        asked.add((seed, purpose))
        return digest(seed, purpose, *key)

    monkeypatch.setattr(random, "_digest", watched)
    draw = DRAWS[purpose]
    first = draw(world, 11)
    assert first
    assert (11, purpose) in asked
    assert {seed for seed, of in asked if of not in CONSTANT} == {11}
    torch.manual_seed(3)
    assert draw(world, 11) == first
    if purpose not in SAME_ANYWAY:
        assert any(draw(world, seed) != first for seed in SEEDS)
