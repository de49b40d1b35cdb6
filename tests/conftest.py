import pytest
import torch
from small_run import ONE_EPOCH, copy_project, snakemake


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The folder of a finished run of the demo, made by a copy of the project, and what the run said."""
    folder = tmp_path_factory.mktemp("demo")
    copy_project(folder)
    return folder, snakemake(folder, config=ONE_EPOCH)
