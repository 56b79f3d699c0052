"""The plan knows a model's sizes without its weights, and its estimates follow them."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from llm_anatomy.config.base import Compute, Precision
from llm_anatomy.config.models import ModelSource
from llm_anatomy.config.root import Configuration
from llm_anatomy.model.source import memory as memory_of
from llm_anatomy.model.source.prepare import prepare
from llm_anatomy.plan.jobs import PlannedJob, built_shape, parse_jobs, shape_of
from llm_anatomy.plan.listing import plan_text
from llm_anatomy.plan.needs import Work, price, weight_mb
from llm_anatomy.plan.resources import need_of, planned
from llm_anatomy.plan.shape import Shape, prepared_shape
from llm_anatomy.plan.work import ON_DEVICE
from llm_anatomy.rulebook.code import package_root
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from tests.tiny import LLAMA, save_tiny_model, tiny_model

SHAPE = Shape(
    n_layers=4,
    d_model=128,
    vocab_size=1000,
    n_neurons=512,
    n_matrices=3,
    parameters=1_000_000,
    tied=True,
)


@pytest.mark.parametrize("family", ["llama", "llama_tied", "gpt2", "phi3", "falcon", "gpt_neox"])
def test_the_configuration_alone_gives_the_sizes_of_the_prepared_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = ModelSource(name="tiny", path=str(save_tiny_model(tmp_path / "user", family)))
    planned_shape = shape_of(source)
    prepare(source, (), Path("results/models/tiny"), Precision(), Compute())
    assert planned_shape == prepared_shape(Path("results/models/tiny"))
    assert shape_of(source) == planned_shape


@pytest.mark.parametrize("family", ["llama", "llama_tied", "gpt2"])
def test_body_parameters_are_neither_embedding_nor_head(family: str) -> None:
    model = tiny_model(family)
    outside = {model.get_input_embeddings().weight, model.get_output_embeddings().weight}
    body = sum(p.numel() for p in model.parameters() if all(p is not o for o in outside))
    assert built_shape(model).body_parameters == body


def test_operations_are_those_that_torch_counts() -> None:
    sizes = LLAMA | {"hidden_size": 256, "intermediate_size": 700, "vocab_size": 4000}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes))
        tokens = torch.zeros(2, 32, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens)
    work = Work("model", loads_model=True, body_tokens=64, head_vectors=64)
    need = price(work, built_shape(model), Precision(), Compute())
    # Attention's own products, which grow with the square of a text, are left out.
    assert need.flops == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_memory_follows_precision_batch_and_training() -> None:
    work = Work("model", loads_model=True, batch_tokens=1000)
    single = price(work, SHAPE, Precision(), Compute())
    half = price(work, SHAPE, Precision(dtype="bfloat16"), Compute())
    assert weight_mb(SHAPE, Precision(quantisation="4bit")) == pytest.approx(0.5)
    assert half.memory_mb < single.memory_mb
    head = SHAPE.head_parameters * 4 / 1e6
    assert half.memory_mb - single.memory_mb == pytest.approx(head - (1e6 + 1000 * 3072) * 2 / 1e6)
    larger = price(replace(work, batch_tokens=4000), SHAPE, Precision(), Compute())
    assert larger.memory_mb > single.memory_mb
    trained = price(replace(work, trains=True), SHAPE, Precision(), Compute())
    assert trained.memory_mb - single.memory_mb > 3 * weight_mb(SHAPE, Precision())


def test_a_card_takes_the_model() -> None:
    work = Work("model", loads_model=True, batch_tokens=1000)
    need = price(work, SHAPE, Precision(), Compute(device="cuda"))
    assert need.gpu == 1
    assert need.card_mb >= weight_mb(SHAPE, Precision())
    tables = price(Work("tables"), None, Precision(), Compute(device="cuda"))
    assert (tables.gpu, tables.card_mb, tables.flops) == (0, 0, 0)


def test_resources_grow_with_every_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = ModelSource(name="tiny", path=str(save_tiny_model(tmp_path / "user")))
    configuration = Configuration(models=[source])
    wildcards = SimpleNamespace(items=lambda: [("model", "tiny"), ("dataset", "domains")])
    resources = planned("extract_activations", configuration)
    memory, runtime = resources["mem_mb"], resources["runtime"]
    unknown = memory(wildcards, 1), runtime(wildcards, 1)
    prepare(source, (), Path("results/models/tiny"), Precision(), Compute())
    known = memory(wildcards, 1), runtime(wildcards, 1)
    assert known < unknown
    assert (memory(wildcards, 2), runtime(wildcards, 2)) == (2 * known[0], 2 * known[1])


def test_a_card_is_asked_for_only_where_the_configuration_names_one() -> None:
    on_card = Configuration(compute=Compute(device="cuda"))
    assert "gpu" not in planned("extract_activations", Configuration())
    assert planned("extract_activations", on_card)["gpu"] == 1
    assert "gpu" not in planned("spline_features", on_card)
    assert "gpu" not in planned("prepare_model", on_card)


def test_every_stage_that_runs_on_a_device_is_known_to() -> None:
    folder = package_root() / "stages"
    using = {
        path.stem
        for path in folder.glob("*.py")
        if re.search(r"\b(load_model|choose_device)\(", path.read_text())
    }
    # Used by hand on new texts, without a rule.
    assert using - {"score_texts"} == ON_DEVICE


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b'{"n_layers": null}', b"\xff"])
def test_a_damaged_model_folder_leaves_its_needs_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """The stage that reads the files names the damage; the Snakefile must get that far."""
    monkeypatch.chdir(tmp_path)
    source = ModelSource(name="tiny", path=str(save_tiny_model(tmp_path / "user")))
    prepare(source, (), Path("results/models/tiny"), Precision(), Compute())
    Path("results/models/tiny/architecture.json").write_bytes(content)
    wildcards = {"model": "tiny", "dataset": "domains"}
    assert need_of("extract_activations", wildcards, Configuration(models=[source])) is None


def test_every_rule_asks_for_its_own_needs() -> None:
    for file in sorted((package_root().parents[1] / "rules").glob("*.smk")):
        for rule in re.split(r"^ *rule ", file.read_text(), flags=re.MULTILINE)[1:]:
            if "shell:" in rule:
                assert f'**planned("{rule.partition(":")[0]}", CONFIG)' in rule


def test_a_job_over_all_relations_counts_the_facts_of_all() -> None:
    configuration = Configuration()
    shapes = {configuration.models[0].name: SHAPE}
    one = need_of("attribute_facts", {"relation": "capitals"}, configuration, shapes)
    every = need_of("trace_queries", {}, configuration, shapes)
    assert one is not None
    assert every is not None
    assert every.flops > 0


def test_snakefile_imports_no_model_library() -> None:
    code = (
        "import llm_anatomy.plan.resources, sys; "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


DRY_RUN = """
[Sat Nov 21 12:29:41 2026]
Job 2: extract_activations: Run the model: traces. dataset=domains,model=tiny,shard=1,shards=1
Reason: Forced execution
Job 3: report: Every claim in one table, and one page with every figure.
Reason: Forced execution
Job 0: all: Every study that the configuration names.
"""


def test_jobs_come_from_the_dry_run() -> None:
    wildcards = {"model": "tiny", "dataset": "domains", "shard": "1", "shards": "1"}
    assert parse_jobs(DRY_RUN) == [
        PlannedJob("extract_activations", wildcards),
        PlannedJob("report", {}),
    ]


def test_the_plan_names_every_job_and_the_largest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = parse_jobs(DRY_RUN)
    configuration = Configuration()
    lines = plan_text(jobs, configuration, {"tiny": SHAPE}, jobs).splitlines()
    assert [line.split()[0] for line in lines[:3]] == [
        "rule",
        "extract_activations",
        "report",
    ]
    assert "FLOP" in lines[1]
    assert "2 jobs" in lines[-1]
    unknown = plan_text(jobs, configuration, {}, jobs)
    assert "known once the model is prepared" in unknown
    assert need_of("extract_activations", jobs[0].wildcards, configuration, {}) is None


def test_the_plan_counts_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = parse_jobs(DRY_RUN)
    whole = plan_text(jobs, Configuration(), {"tiny": SHAPE}, jobs)
    assert "are left" not in whole
    some = plan_text(jobs, Configuration(), {"tiny": SHAPE}, jobs[1:])
    assert some.startswith(whole)
    assert some.endswith("1 jobs are done. 1 are left, about 1 minutes one after the other.\n")
    nothing = plan_text(jobs, Configuration(), {"tiny": SHAPE}, [])
    assert "2 jobs are done. 0 are left" in nothing


@pytest.mark.parametrize(
    ("precision", "weight", "activation"),
    [
        (Precision(), 4, 4),
        (Precision(dtype="bfloat16"), 2, 2),
        (Precision(dtype="float16", quantisation="8bit"), 1, 2),
        (Precision(quantisation="4bit"), 0.5, 4),
    ],
)
def test_bytes_of_a_number_at_every_precision(precision, weight, activation):
    assert (precision.weight_bytes, precision.activation_bytes) == (weight, activation)


def test_the_plan_says_how_much_of_a_model_is_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [PlannedJob("fine_tune", {})]
    models = [{"name": "large", "path": "models/large"}]
    texts = {"name": "t", "path": "t.csv", "text": "text"}
    chosen = {"models": models, "datasets": [texts], "studies": ["neurons"]}
    configuration = Configuration.model_validate(chosen)
    large = Shape(32, 4096, 128_256, 14_336, 3, 8_030_000_000, tied=False)

    def said(memory: float | None) -> str:
        monkeypatch.setattr(memory_of, "device_memory", lambda compute: (memory, "this machine"))
        return plan_text(jobs, configuration, {"large": large}, jobs)

    assert "Of large, the last 11 of 32 layers are trained" in said(80e9)
    assert "fine_tune will fail: the model 'large' cannot be trained here" in said(20e9)
    for enough in (400e9, None):
        assert "trained" not in said(enough)
    other = [PlannedJob("map_neurons", {"model": "large"})]
    assert "trained" not in plan_text(other, configuration, {"large": large}, other)
