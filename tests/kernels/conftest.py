"""Triton for the tests of a card's kernels: its interpreter where no card is."""

import importlib.util

import pytest
import torch

from tests.packages import install_packages


@pytest.fixture(scope="session", autouse=True)
def triton(tmp_path_factory):
    """The package: as it is installed, else in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("triton") is None:
            folder = tmp_path_factory.mktemp("kernels")
            install_packages(folder, "envs/kernels.lock")
            patch.syspath_prepend(folder)
        if not torch.cuda.is_available():
            # Read when a kernel's module is first imported.
            patch.setenv("TRITON_INTERPRET", "1")
        yield


@pytest.fixture(scope="session")
def device():
    """Where kernels run: on a card where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
