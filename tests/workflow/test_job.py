"""What the scripts share: here, jobs side by side take different GPUs."""

import importlib.util
import subprocess
import sys

import pytest
import torch
from small_run import ROOT

from cmc.training import devices

PATH = ROOT / "workflow/scripts/job.py"
LIVES_ON = f"""
import importlib.util, sys, tempfile
tempfile.tempdir = sys.argv[1]
spec = importlib.util.spec_from_file_location("job", {str(PATH)!r})
job = importlib.util.module_from_spec(spec)
spec.loader.exec_module(job)
print(job.least_used(["0", "GPU-b"]), flush=True)
sys.stdin.read()
"""


def start(folder):
    line = [sys.executable, "-c", LIVES_ON, str(folder)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_jobs_spread_over_gpus(tmp_path):
    jobs = [start(tmp_path) for _ in range(3)]
    assert [gpu for _, gpu in jobs] == ["0", "GPU-b", "0"]
    jobs[1][0].kill()  # a killed job's place is free again
    jobs[1][0].wait()
    last, gpu = start(tmp_path)
    assert gpu == "GPU-b"
    for process in (jobs[0][0], jobs[2][0], last):
        process.communicate("")
        assert process.returncode == 0


@pytest.fixture
def job(monkeypatch):
    """The module, in an environment and with a torch whose settings are put back."""
    spec = importlib.util.spec_from_file_location("job", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    yield module
    torch.use_deterministic_algorithms(False)


def test_the_same_numbers_every_time(job):
    """As warnings alone, PyTorch's fused attention would stay as it is: its backward pass adds in any order."""
    job.device("cpu")
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert job.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_gpu_that_is_not_there(job, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert job.device("auto") == "cpu"
    with pytest.raises(
        RuntimeError, match=r"device is cuda:1, but PyTorch finds no GPU on .*set device to auto"
    ):
        job.device("cuda:1")


def test_a_device_that_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [devices.choose(name) for name in ("auto", "cpu", "cuda", "cuda:1")] == [
        "cuda",
        "cpu",
        "cuda",
        "cuda:1",
    ]
    for name, told in (
        ("gpu", "expected auto, cpu, cuda or cuda:N"),
        ("cuda:2", "the last GPU .* is cuda:1"),
    ):
        with pytest.raises(devices.DeviceError, match=told):
            devices.choose(name)


def test_one_gpu_of_several(tmp_path, job, monkeypatch):
    """Of those that the user or the cluster lets the job see."""
    monkeypatch.setattr(job.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for gpu in "57":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
        assert job.device("auto") == "cuda"
        assert job.os.environ["CUDA_VISIBLE_DEVICES"] == gpu
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert job.device("cpu") == "cpu" and job.os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"


STARTS = f"""
import os, sys
from types import SimpleNamespace
sys.path.insert(0, {str(PATH.parent)!r})
import job
job.start(SimpleNamespace(resources=eval(sys.argv[1]), threads=1, rule="r", wildcards=[], log=[sys.argv[2]]))
print(*(os.environ[name + "_NUM_THREADS"] for name in ("OMP", "MKL", "NUMEXPR", "OPENBLAS")))
"""


@pytest.mark.parametrize(("resources", "told"), [({"threads_set": "3"}, "3 3 3 1"), ({}, "1 1 1 1")])
def test_threads_are_those_of_the_config_however_few_cores_there_are(tmp_path, resources, told):
    line = [sys.executable, "-c", STARTS, str(resources), str(tmp_path / "log")]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip() == told
