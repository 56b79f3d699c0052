"""The study from a task's source to claims and figures, on a tiny model, stage by stage."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.patching import (
    Angle,
    ArithmeticTask,
    Donors,
    ExtractiveQaTask,
    Freeze,
    Noise,
    PatchingSettings,
    RelationTask,
    Shuffle,
    Skip,
    SummarisationTask,
    Switch,
    Task,
)
from llm_anatomy.errors import UserError
from llm_anatomy.figures.exhibit import read_exhibits
from llm_anatomy.model.run.loading import load_model
from llm_anatomy.patching.claims import PatchingScope
from llm_anatomy.patching.experiment import sweep_task
from llm_anatomy.stages import (
    build_dataset,
    build_tasks,
    conclude_patching,
    summarise_sweeps,
    sweep_layers,
)
from llm_anatomy.tables.claims import CLAIMS
from llm_anatomy.tables.core import read_table
from llm_anatomy.tables.patching import CURVES, DEPTHS, EXAMPLES, FLOORS, INTAKE, PAIRS, SWEEPS

from tests.unit.patching.tools import saved_model

CITIES = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid|Matrit",
    "Japan": "Tokyo",
    "Peru": "Lima",
    "Chad": "N'Djamena",
    "Kenya": "Nairobi",
}
MANIPULATIONS = [
    Noise(name="noise", seeds=2),
    Shuffle(name="shuffle", seeds=1, keep_first=True),
    Angle(name="angle", seeds=1, degrees=[0, 90]),
    Freeze(name="freeze"),
    Skip(name="skip"),
    Skip(name="window", width=1),
    Switch(name="switch"),
]
STORY = "The old mill stands by the river. A miller ground corn there for forty years."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def capitals(tmp_path: Path) -> Path:
    path = tmp_path / "capitals.csv"
    rows = [f"{subject},{answer.split('|')[0]},{answer}" for subject, answer in CITIES.items()]
    path.write_text("\n".join(["subject,answer,answers", *rows]))
    return path


class Run:
    """Runs the stages of one task in a folder."""

    def __init__(
        self, model: Path, folder: Path, task: Task, data: Dataset | None = None, **changes: object
    ) -> None:
        self.model, self.folder, self.data = model, folder, data
        self.settings = PatchingSettings.model_validate(
            {"tasks": [task], "manipulations": MANIPULATIONS} | changes
        )
        self.task = self.settings.tasks[0]

    def path(self, name: str) -> Path:
        return self.folder / "results/patching/tiny" / self.task.name / f"{name}.parquet"

    def source(self) -> tuple[Path, ...]:
        """The table of the data set that the task reads."""
        if self.data is None:
            return ()
        build_dataset.run(
            build_dataset.BuildDatasetStage(seed=0, dataset=self.data),
            sources=(),
            table=self.path("data"),
            intake=self.path("data.intake"),
        )
        return (self.path("data"),)

    def build(self) -> None:
        manipulations = self.settings.task_manipulations(self.task.name)
        build_tasks.run(
            build_tasks.BuildTasksStage(seed=0, task=self.task, manipulations=manipulations),
            model=self.model,
            source=self.source(),
            **{name: self.path(name) for name in ("examples", "pairs", "floors", "intake")},
        )

    def sweep(self, method: str = "fast") -> None:
        sweep_layers.run(
            sweep_layers.SweepStage(
                seed=0,
                precision=Precision(),
                task=self.task,
                manipulations=self.settings.task_manipulations(self.task.name),
                layers=self.settings.layers,
                method=method,
            ),
            model=self.model,
            examples=self.path("examples"),
            pairs=self.path("pairs"),
            sweeps=self.path("sweeps"),
        )

    def swept(self, name: str) -> pd.DataFrame:
        """The records of one manipulation."""
        sweeps = read_table(self.path("sweeps"), SWEEPS)
        return sweeps[sweeps["manipulation"] == name].reset_index(drop=True)

    def all(self) -> None:
        self.build()
        self.sweep()
        summarise_sweeps.run(
            summarise_sweeps.SweepSummaryStage(seed=0, summary=self.settings.summary),
            floors=self.path("floors"),
            sweeps=self.path("sweeps"),
            curves=self.path("curves"),
            depths=self.path("depths"),
        )
        names = ("curves", "depths", "examples", "intake", "pairs", "sweeps")
        conclude_patching.run(
            PatchingScope(models=["tiny"], patching=self.settings),
            tables=tuple(self.path(name) for name in names),
            claims=self.path("claims"),
            figures=self.folder / "figures",
        )


@pytest.fixture
def study(model: Path, tmp_path: Path) -> Callable[..., Run]:
    return lambda task, data=None, **changes: Run(model, tmp_path, task, data, **changes)


def capitals_task(**changes: object) -> RelationTask:
    return RelationTask.model_validate({"name": "capitals", "relation": "mine"} | changes)


def own(file: Path, kind: str, **settings: object) -> Dataset:
    """The data set of a user's file."""
    return Dataset.model_validate({"name": "mine", "kind": kind, "path": str(file)} | settings)


def relation(file: Path) -> Dataset:
    return own(file, "relation", answers="answers")


def test_capitals_end_to_end(study: Callable[..., Run], capitals: Path) -> None:
    run = study(capitals_task(), relation(capitals))
    run.all()
    clean = run.swept("none")
    assert list(clean["layer"].unique()) == [4]
    assert np.allclose(clean["kl"], 0, atol=1e-5)
    noise = run.swept("noise")
    assert len(noise) == len(CITIES) * 4 * 2
    freeze = run.swept("freeze")
    assert (freeze["authors_layer"] == freeze["layer"] + 1).all()
    # Freezing at the last block changes nothing; so does turning by no angle.
    unchanged = freeze[freeze["layer"] == 3]
    assert np.allclose(unchanged["kl"], 0, atol=1e-5)
    angle = run.swept("angle")
    assert np.allclose(angle.loc[angle["strength"] == 0, "kl"], 0, atol=1e-5)
    curves, depths = read_table(run.path("curves"), CURVES), read_table(run.path("depths"), DEPTHS)
    shares = curves[(curves["manipulation"] == "switch") & (curves["subset"] == "all")]
    # Shares are the answers counted, example by example; a model that answers has both outcomes
    # (`answers/test_both_answers_of_patching.py`).
    switch = run.swept("switch")
    counted = {"original": switch["correct"], "modified": switch["donor_correct"]}
    for metric, values in counted.items():
        by_example = values.astype(float).groupby([switch["layer"], switch["example_id"]]).mean()
        expected = by_example.groupby("layer").mean()
        found = shares[shares["metric"] == metric].set_index("layer")["value"]
        assert found.to_dict() == pytest.approx(expected.to_dict())
    assert (
        (curves["low"] <= curves["value"] + 1e-9) & (curves["value"] <= curves["high"] + 1e-9)
    ).all()
    assert {"drop_free_1", "drop_free_5", "drop_free_10", "chance", "crossover"} <= set(
        depths["quantity"]
    )
    assert len(read_table(run.path("claims"), CLAIMS)) > 4
    shown = read_exhibits(run.folder / "figures")
    assert len(shown.exhibits) == 5
    assert all(
        (run.folder / "figures" / e.figure).stat().st_size > 0 for e in shown.exhibits if e.figure
    )


def test_the_reference_method_gives_the_same_records(
    study: Callable[..., Run], capitals: Path
) -> None:
    run = study(capitals_task(max_new_tokens=3, max_examples=3), relation(capitals))
    run.build()
    run.sweep()
    fast = read_table(run.path("sweeps"), SWEEPS)
    run.sweep("reference")
    slow = read_table(run.path("sweeps"), SWEEPS)
    names = ["none", *(manipulation.name for manipulation in MANIPULATIONS)]
    assert list(fast["manipulation"].unique()) == names
    exact = ["manipulation", "example_id", "donor_id", "layer", "seed", "strength", "prediction"]
    exact.append("gold_rank")
    pd.testing.assert_frame_equal(fast[exact], slow[exact])
    for column in ("gold_logprob", "kl"):
        np.testing.assert_allclose(fast[column], slow[column], rtol=1e-3, atol=1e-4)


def test_arithmetic_questions_and_their_right_answers(study: Callable[..., Run]) -> None:
    task = ArithmeticTask(name="sums", first=(1, 3), second=(1, 4), shots=2)
    run = study(task, manipulations=[Skip(name="skip")])
    run.all()
    examples = read_table(run.path("examples"), EXAMPLES)
    assert len(examples) == 10
    for _, row in examples.iterrows():
        question = row["prompt"].splitlines()[-1]
        assert str(eval(question.removesuffix("="))) == row["answer"]
        assert row["prompt"].count("\n") == 2
    intake = read_table(run.path("intake"), INTAKE)
    assert (intake["category"] == "demonstration").sum() == 2


def test_extractive_answers_from_a_squad_file(study: Callable[..., Run], tmp_path: Path) -> None:
    answers = [{"text": "by the river", "answer_start": 20}]
    questions = [
        {"id": "q1", "question": "Where does the mill stand?", "answers": answers},
        {"id": "q2", "question": "Who is the king?", "answers": [], "is_impossible": True},
    ]
    file = tmp_path / "squad.json"
    document = {"data": [{"title": "t", "paragraphs": [{"context": STORY, "qas": questions}]}]}
    file.write_text(json.dumps(document))
    task = ExtractiveQaTask(
        name="squad", dataset="mine", max_new_tokens=3, prompt="{context}\nQ: {question}\nA:"
    )
    manipulations = [Freeze(name="freeze"), Noise(name="noise", seeds=1)]
    run = study(task, own(file, "qa", id="id"), manipulations=manipulations)
    run.all()
    assert set(read_table(run.path("curves"), CURVES)["metric"]) == {
        "exact_match",
        "f1",
        "gold_logprob",
        "kl",
    }
    intake = read_table(run.path("intake"), INTAKE).set_index("example_id")
    assert intake.loc["q2", "category"] == "unanswerable"
    assert set(read_table(run.path("floors"), FLOORS)["metric"]) == {"exact_match", "f1"}


def test_summaries_of_articles_that_are_cut(study: Callable[..., Run], tmp_path: Path) -> None:
    file = tmp_path / "articles.jsonl"
    file.write_text(json.dumps({"id": "a1", "article": STORY, "highlights": "A mill by a river."}))
    task = SummarisationTask(name="news", dataset="mine", max_new_tokens=4, max_article_tokens=30)
    news = own(file, "articles", id="id", summary="highlights")
    run = study(task, news, manipulations=[Skip(name="skip")])
    run.all()
    intake = read_table(run.path("intake"), INTAKE)
    assert intake["used"].all()
    assert "cut to 30" in intake["reason"][0]
    assert {"rouge1", "rouge2", "rougeL"} <= set(read_table(run.path("curves"), CURVES)["metric"])


def test_what_cannot_be_used_is_named_and_counted(
    study: Callable[..., Run], tmp_path: Path
) -> None:
    file = tmp_path / "facts.csv"
    file.write_text(
        "example_id,subject,answer,prompt\n"
        "a,France,Paris,The capital of France is\n"
        "b,Italy,Rome,The capital of Italy is\n"
        "c,Peru,Lima,The city of Incas is called\n"
        "d,Chad,N'Djamena-on-the-river,The capital of Chad is\n"
        f"e,Mali,Rome,{'The capital of Mali ' * 40}is\n"
        "f,Laos,Rio,The capital of Laos is\n"
    )
    donors = Donors(unequal="skip_pair", pairing="shift")
    task = RelationTask(name="facts", relation="mine", max_new_tokens=6, donors=donors)
    facts = own(file, "relation", id="example_id", prompt="prompt")
    run = study(task, facts, manipulations=[Switch(name="switch")])
    run.build()
    intake = read_table(run.path("intake"), INTAKE)
    reasons = {(row.example_id, row.scope): row.category for row in intake.itertuples()}
    assert reasons["d", "task"] == "answer_unreachable"
    assert reasons["e", "task"] == "prompt_too_long"
    assert reasons["c", "switch"] == "subject_not_in_prompt"
    pairs = read_table(run.path("pairs"), PAIRS)
    switch = intake[intake["scope"] == "switch"]
    # Every used example is either switched or named with a reason.
    assert set(switch["example_id"]) == set(
        read_table(run.path("examples"), EXAMPLES)["example_id"]
    )
    assert set(switch.loc[switch["used"], "example_id"]) == set(pairs["example_id"])
    assert set(switch.loc[~switch["used"], "category"]) <= {
        "subject_not_in_prompt",
        "unequal_spans",
    }


@pytest.mark.parametrize(
    ("layers", "words"),
    [([4], "names layer 4, but"), ([0, 9], "names layer 9, but")],
)
def test_layers_that_do_not_exist(
    study: Callable[..., Run], capitals: Path, layers: list[int], words: str
) -> None:
    run = study(capitals_task(), relation(capitals), layers=layers)
    run.build()
    with pytest.raises(UserError, match=words):
        run.sweep()


def test_a_manipulation_of_the_subject_needs_one(study: Callable[..., Run]) -> None:
    task = ArithmeticTask(name="sums", first=(1, 3), second=(1, 3), shots=0)
    run = study(task, manipulations=[Noise(name="on_subject", positions="subject")])
    run.build()
    with pytest.raises(UserError, match=r"on_subject.*sums"):
        sweep_task(
            load_model(run.model, Precision(), Compute()),
            task,
            read_table(run.path("examples"), EXAMPLES),
            read_table(run.path("pairs"), PAIRS),
            run.settings.manipulations,
        )


def test_redrawn_noise_differs_from_fixed_noise_only_after_the_first_token(
    study: Callable[..., Run], capitals: Path
) -> None:
    task = capitals_task(max_new_tokens=5)
    noises = [Noise(name="fixed", seeds=1), Noise(name="redrawn", seeds=1, redraw=True)]
    run = study(task, relation(capitals), manipulations=noises)
    run.build()
    run.sweep()
    fixed, redrawn = run.swept("fixed"), run.swept("redrawn")
    np.testing.assert_allclose(fixed["gold_logprob"], redrawn["gold_logprob"], rtol=1e-4)
    run.sweep("reference")
    slow = run.swept("redrawn")
    assert list(redrawn["prediction"]) == list(slow["prediction"])
    assert list(redrawn["prediction"]) != list(fixed["prediction"])
