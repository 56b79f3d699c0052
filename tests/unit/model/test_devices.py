"""Which card a job takes: on its own machine, inside constrained jobs, and under a scheduler."""

import tempfile
from types import SimpleNamespace

import pytest
import torch
from llm_anatomy.config.base import Compute
from llm_anatomy.config.load import load_configuration
from llm_anatomy.errors import UserError
from llm_anatomy.model.run import devices
from llm_anatomy.model.run.devices import batch_budget, choose_device

ALL = (*devices.ALLOCATED, *devices.SCHEDULED, "CUDA_VISIBLE_DEVICES")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Sets what a job sees: the UUIDs of its cards and its environment."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(devices, "_locks", [])
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def job(*uuids, **environment):
        for name in ALL:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=uuids[index])
        )

    return job


CARD = Compute(device="cuda")


def test_jobs_of_one_machine_take_one_card_each(machine):
    machine("a", "b")
    assert [choose_device(CARD), choose_device(CARD)] == ["cuda:0", "cuda:1"]
    with pytest.raises(UserError, match="all 2 CUDA cards are locked by other jobs"):
        choose_device(CARD)


def test_a_card_is_known_by_its_uuid_whatever_number_a_job_gives_it(machine):
    machine("a", CUDA_VISIBLE_DEVICES="0")
    assert choose_device(CARD) == "cuda:0"
    # Another job, which is shown another card as its card 0.
    machine("b", CUDA_VISIBLE_DEVICES="0")
    assert choose_device(CARD) == "cuda:0"
    # The first card again, as number 1 of a job that sees both.
    machine("c", "a", "b")
    assert choose_device(CARD) == "cuda:0"
    with pytest.raises(UserError, match="locked"):
        choose_device(CARD)


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "1", "CUDA_VISIBLE_DEVICES": "0"},
        {"SLURM_STEP_GPUS": "0"},
        {"PBS_JOBID": "7.host", "CUDA_VISIBLE_DEVICES": "GPU-a"},
        {"LSB_JOBID": "7", "CUDA_VISIBLE_DEVICES": "3"},
    ],
)
def test_a_card_that_a_scheduler_gave_is_used_without_a_lock(machine, environment):
    # Two jobs that share a card (MPS, shards) are the scheduler's decision.
    machine("a", **environment)
    assert [choose_device(CARD), choose_device(CARD)] == ["cuda:0", "cuda:0"]


def test_snakemake_inside_an_allocation_of_several_cards_shares_them_out(machine):
    machine("a", "b", SLURM_JOB_ID="7", SLURM_JOB_GPUS="0,1", CUDA_VISIBLE_DEVICES="0,1")
    assert [choose_device(CARD), choose_device(CARD)] == ["cuda:0", "cuda:1"]


def test_a_job_of_a_scheduler_without_cards_of_its_own_locks(machine):
    machine("a", SLURM_JOB_ID="7")
    assert choose_device(CARD) == "cuda:0"
    with pytest.raises(UserError, match="locked"):
        choose_device(CARD)


def test_a_certain_card_is_taken_when_it_is_there(machine):
    machine("a", "b")
    assert choose_device(Compute(device="cuda:1")) == "cuda:1"
    with pytest.raises(UserError, match="'cuda:2' but this machine shows cuda:0 to cuda:1"):
        choose_device(Compute(device="cuda:2"))


@pytest.mark.parametrize("device", ["auto", "gpu", "mps", "cuda:", "cuda:-1", "cuda:01", "CPU", ""])
def test_devices_that_no_study_runs_on_are_refused_in_the_configuration(device):
    with pytest.raises(UserError, match=r"'compute.device' is .*: set 'c|'cuda' for") as refused:
        load_configuration({"compute": {"device": device}}, "mine.yaml")
    assert str(refused.value).startswith("mine.yaml: the key 'compute.device' is ")
    assert ("several cards" in str(refused.value)) == (device == "auto")


def test_a_batch_is_as_large_as_configured_or_as_the_device_takes(monkeypatch):
    free = [0]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 1 << 40))
    assert batch_budget(Compute(batch_tokens=99), "cpu", 1000) == 99
    assert batch_budget(Compute(device="cuda", batch_tokens=99), "cuda:0", 1000) == 99
    assert batch_budget(Compute(), "cpu", 1000) == 2048
    for free[0], tokens in ((40_000_000, 10_000), (1 << 40, 16_384), (3000, 1)):
        assert batch_budget(CARD, "cuda:0", 1000) == tokens
