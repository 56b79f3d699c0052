"""What `llm-anatomy doctor` finds, and what keeps a run from working."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from llm_anatomy.cli import doctor
from llm_anatomy.errors import UserError
from llm_anatomy.plan.jobs import PlannedJob


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """A configuration whose plan has two jobs: one known, one not yet."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("studies: [neurons]\n")
    jobs = [PlannedJob("map_neurons", {"model": "m"}), PlannedJob("report", {})]
    needs = {"map_neurons": SimpleNamespace(memory_mb=12_000), "report": None}
    monkeypatch.setattr(doctor, "list_jobs", lambda arguments: jobs)
    monkeypatch.setattr(doctor, "need_of", lambda rule, wildcards, configuration: needs[rule])
    return needs


def finding(what):
    return next(each for each in doctor.examine([Path("mine.yaml")]) if each.what == what)


def test_a_job_that_does_not_fit_is_a_fault(planned, monkeypatch):
    monkeypatch.setattr(doctor, "_memory_gb", lambda: 16.0)
    fits = finding("plan")
    assert fits.verdict == "ok"
    assert "2 jobs, the largest (map_neurons) with 12.0 GB; 1 more" in fits.found
    monkeypatch.setattr(doctor, "_memory_gb", lambda: 8.0)
    assert finding("plan").verdict == "fault"
    assert finding("plan").found.endswith("this machine has 8.0 GB")


def test_what_snakemake_refuses_is_told(planned, monkeypatch):
    def refuse(arguments):
        raise UserError("mine.yaml: there is no file tweets.csv")

    monkeypatch.setattr(doctor, "list_jobs", refuse)
    assert finding("plan") == doctor.Finding(
        "fault", "plan", "mine.yaml: there is no file tweets.csv"
    )


def test_a_card_that_is_asked_for_and_not_seen_is_a_fault(planned, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert finding("device").verdict == "ok"
    Path("mine.yaml").write_text("compute: {device: cuda}\n")
    assert finding("device").verdict == "fault"
    assert "compute.device is cuda, and no card is seen" in finding("device").found


def test_another_version_than_the_locked_one_is_a_note(planned, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.1")
    assert finding("numpy").verdict == "note"
    assert "results were tested with" in finding("numpy").found
