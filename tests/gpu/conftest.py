"""Tests of a device: a GPU, or what the environment variable CMC_DEVICE names (`cpu` to try the tests themselves).

    pytest -m gpu

They compute as the workflow's jobs do, so the same bytes can be asked for.
"""

import os

import pytest
import torch

from cmc.training import determinism


@pytest.fixture(scope="session")
def device():
    """What is tested."""
    name = os.environ.get("CMC_DEVICE", "cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("PyTorch finds no GPU; CMC_DEVICE=cpu runs these tests on the CPU")
    return name


@pytest.fixture(autouse=True)
def as_in_a_job(monkeypatch):
    """cuBLAS reads the variable that this sets once, at the first product of the process."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    determinism.same_bytes()
    yield
    torch.use_deterministic_algorithms(False)
