"""Estimated times beside those of a whole default run, and rows counted before they are read."""

from pathlib import Path

import pytest
import yaml
from llm_anatomy.config.base import Compute
from llm_anatomy.config.datasets import Dataset
from llm_anatomy.config.facts import FactRelation, FactsSettings
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.root import Configuration
from llm_anatomy.data.builtin.registry import BUILTINS
from llm_anatomy.plan import sizes
from llm_anatomy.plan.resources import need_of
from llm_anatomy.plan.shape import Shape
from llm_anatomy.plan.sizes import rows_of, tokens_of
from llm_anatomy.tables.core import write_table
from llm_anatomy.tables.data import TEXTS

ROOT = Path(__file__).parents[3]
MODEL = "smollm2-135m-instruct"
SMOLLM = Shape(
    n_layers=30,
    d_model=576,
    vocab_size=49152,
    n_neurons=1536,
    n_matrices=3,
    parameters=134_515_008,
    tied=True,
)
# Seconds between the start and the end of every job of config/config.yaml, at two jobs of one
# thread on two cores of an otherwise idle machine (58 jobs, 14 minutes in all).
MEASURED: dict[tuple[str, str], float] = {
    ("sweep_layers", "capitals"): 218,
    ("extract_activations", "harmful_responses"): 212,
    ("extract_activations", "domains"): 36,
    ("extract_activations", "toxicity_types"): 21,
    ("map_neurons", ""): 130,
    ("clamp_neurons", ""): 76,
    ("knock_out", ""): 74,
    ("check_geometry", ""): 67,
    ("attribute_facts", "capitals"): 57,
    ("attribute_facts", "languages"): 52,
    ("attribute_facts", "continents"): 49,
    ("attribute_facts", "months"): 22,
    ("probe_features", "harmful_responses"): 52,
    ("probe_features", "domains"): 37,
    ("probe_features", "toxicity_types"): 32,
    ("prepare_model", ""): 46,
    ("compare_models", ""): 46,
    ("fine_tune", ""): 45,
    ("validate_neurons", ""): 44,
    ("detect_toxicity", "toxicity_types"): 26,
    ("detect_toxicity", "domains"): 24,
    ("detect_toxicity", "harmful_responses"): 17,
    ("trace_queries", ""): 17,
    ("find_concepts", ""): 14,
    ("time_early_exit", "harmful_responses"): 12,
    ("compare_negatives", "harmful_responses"): 11,
    ("read_case", ""): 11,
    ("prompt_outcomes", ""): 10,
    ("conclude_geometry", ""): 10,
    ("conclude_facts", ""): 8,
    ("conclude_neurons", ""): 8,
    ("build_tasks", "capitals"): 7,
    ("conclude_toxicity", ""): 7,
    ("conclude_patching", ""): 7,
    ("summarise_sweeps", "capitals"): 6,
    ("write_manifest", ""): 4,
    ("download_wheels", ""): 3,
    ("report", ""): 3,
    ("summarise_facts", ""): 1,
    **{("build_dataset", name): 1 for name in ("capitals", "languages", "months", "domains")},
    **{("split_texts", name): 1 for name in ("harmful_responses", "toxicity_types", "domains")},
    **{("spline_features", name): 1 for name in ("harmful_responses", "domains")},
    **{("intrinsic_dimension", name): 1 for name in ("harmful_responses", "domains")},
}
LONG = 20
# Texts of the tables of that run, and their mean bytes.
BUILT = {"harmful_responses": (671, 659), "toxicity_types": (200, 72), "domains": (96, 196)}


def default_configuration() -> Configuration:
    values = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    return load_configuration(values, "config/config.yaml")


def estimated(configuration: Configuration) -> dict[tuple[str, str], float]:
    """Seconds of every measured job."""
    found = {}
    for rule, data in MEASURED:
        wildcards = {"model": MODEL}
        if data:
            kinds = {"attribute_facts": "relation", "sweep_layers": "task", "build_tasks": "task"}
            wildcards[kinds.get(rule, "dataset")] = data
        if rule == "compare_models":
            wildcards = {"pair": f"{MODEL}-vs-{MODEL}-tuned"}
        need = need_of(rule, wildcards, configuration, {MODEL: SMOLLM})
        assert need is not None
        found[rule, data] = need.minutes * 60
    return found


@pytest.mark.parametrize("built", [False, True], ids=["before anything is built", "with tables"])
def test_times_are_close_to_those_of_a_whole_run(
    built: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, (rows, length) in BUILT.items() if built else ():
        texts = {"text_id": [str(row) for row in range(rows)]}
        texts["text"] = [f"{row:04d}".ljust(length, "x") for row in range(rows)]
        write_table(sizes.DATA / f"{name}.parquet", TEXTS, texts, {})
    times = estimated(default_configuration())
    ratios = {job: times[job] / seconds for job, seconds in MEASURED.items() if seconds > LONG}
    assert {job: ratio for job, ratio in ratios.items() if not 0.5 <= ratio <= 2} == {}
    assert 1 / 1.5 <= sum(times.values()) / sum(MEASURED.values()) <= 1.5
    # Nothing short is said to take minutes.
    assert max(times[job] for job, seconds in MEASURED.items() if seconds <= LONG) < 90


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_835_facts_are_no_matter_of_seconds(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a job took 348 s; what a fact takes does not shrink with the model or on a card."""
    monkeypatch.chdir(tmp_path)
    lines = ["subject,answer", *(f"s{row},a{row}" for row in range(835))]
    Path("facts.csv").write_text("\n".join(lines) + "\n")
    small = Shape(
        n_layers=4, d_model=64, vocab_size=1000, n_neurons=128, n_matrices=3,
        parameters=300_000, tied=True,
    )  # fmt: skip
    configuration = Configuration(
        models=[ModelSource(name="m", path="m")],
        datasets=[
            Dataset(
                name="known", kind="relation", path="facts.csv", subject="subject", answer="answer"
            )
        ],
        facts=FactsSettings(relations=[FactRelation(relation="known")], case_study=None),
        compute=Compute(device=device),
        studies=["facts"],
    )
    need = need_of(
        "attribute_facts", {"model": "m", "relation": "known"}, configuration, {"m": small}
    )
    assert need is not None
    assert need.time_class == "minutes"
    assert 348 / 2 <= need.minutes * 60 <= 348 * 2


def test_rows_are_counted_in_the_files_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body = "".join(f"text number {row},1\n" for row in range(137))
    Path("a.csv").write_text("text,bad\n" + body)
    Path("no_end.tsv").write_text("text\n" + "x\n" * 4 + "x")
    Path("b.jsonl").write_text('{"text": "x"}\n' * 21)
    Path("c.csv.gz").write_bytes(b"packed")
    texts = {"text_id": ["1", "2"], "text": ["one", "two"]}
    write_table(Path("d.parquet"), TEXTS, texts, {})

    def dataset(path: str, most: int | None = None) -> Dataset:
        return Dataset(name=path.partition(".")[0], path=path, max_rows=most)

    held = {
        "a": (dataset("a.csv"), 137),
        "no_end": (dataset("no_end.tsv"), 5),
        "b": (dataset("b.jsonl"), 21),
        "d": (dataset("d.parquet"), 2),
        "absent": (dataset("absent.csv"), sizes.ASSUMED_ROWS),
        "few": (Dataset(name="few", path="a.csv", max_rows=9), 9),
        "many": (Dataset(name="many", path="a.csv", max_rows=900), 137),
        "months": (Dataset(name="months", kind="relation", builtin="months"), 12),
        "numbers": (Dataset(name="numbers", kind="relation", builtin="numbers"), 19),
    }
    configuration = Configuration(
        studies=["geometry"], datasets=[each for each, _ in held.values()]
    )
    assert {name: rows_of(configuration, name) for name in held} == {
        name: rows for name, (_, rows) in held.items()
    }
    # What is built counts, whatever the file says.
    write_table(sizes.DATA / "a.parquet", TEXTS, texts, {})
    assert rows_of(configuration, "a") == 2
    assert rows_of(configuration, "nobody") == sizes.ASSUMED_ROWS


def test_every_builtin_is_counted() -> None:
    assert set(sizes.BUILTIN_ROWS) == set(BUILTINS)


def test_a_large_file_is_counted_by_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sizes, "READ_BYTES", 1000)
    Path("long.jsonl").write_text('{"text": "12345"}\n' * 5000)
    configuration = Configuration(
        studies=["geometry"], datasets=[Dataset(name="long", path="long.jsonl")]
    )
    assert rows_of(configuration, "long") == pytest.approx(5000, rel=0.1)


def test_tokens_follow_the_texts_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configuration = Configuration(studies=["geometry"], datasets=[Dataset(name="a", path="a.csv")])
    assert tokens_of(configuration, "a") == sizes.ASSUMED_TOKENS
    texts = {
        "text_id": [str(row) for row in range(300)],
        "text": [f"{row} ".ljust(440, "x") for row in range(300)],
    }
    write_table(sizes.DATA / "a.parquet", TEXTS, texts, {})
    assert tokens_of(configuration, "a") == pytest.approx(100, rel=0.05)
