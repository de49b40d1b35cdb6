"""The SLURM profile on a real Slurm of one node, which the test starts: pytest -m slurm, as root, on Debian."""

import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from small_run import MINE, ROOT

ONE_NODE = Path(__file__).parent / "one_node.sh"
CONFIG = {
    "seeds": [1, 2],
    "demo": {"speakers": 3, "clips": 5},
    "features": {"shards": {"text": 8, "audio": 4, "vision": 4}},
    "pretrain": {"epochs": 1},
    "finetune": {"epochs": 1},
    # a feature file that is none: its import fails, however often it is tried
    "datasets": {"broken": MINE | {"source": "features", "features_file": "broken.pkl"}},
}
PARTITIONS = [f"{rule}:slurm_partition=train" for rule in ("pretrain", "finetune", "evaluate")]
SCARCE = [  # the first attempts get too little of what they need
    "finetune:mem_mb=300*attempt**3",
    "evaluate:mem_mb=300*attempt**3",  # in one job with finetune
    "pretrain:runtime=attempt",  # minutes
]
FAST = ["--slurm-init-seconds-before-status-checks=2", "--latency-wait=10", "--slurm-status-command=squeue"]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(os.geteuid() != 0, reason="starts Slurm's daemons, which takes root"),
]


@pytest.fixture(scope="module")
def slurm():
    subprocess.run([ONE_NODE, "start"], check=True)
    yield
    subprocess.run([ONE_NODE, "stop"], check=True)


def start(folder, *arguments, config=CONFIG):
    """Snakemake with the SLURM profile, what it says in run.log."""
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    line = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", ROOT / "Snakefile"]
    line += ["--directory", folder, "--configfile", folder / "mine.yaml"]
    line += ["--profile", ROOT / "profiles/slurm", *FAST]
    with open(folder / "run.log", "a") as log:
        # a shell that started the tests in the background would have them ignore Ctrl-C
        hear = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(list(map(str, line)), stdout=log, stderr=log, preexec_fn=hear)


def running_jobs():
    said = subprocess.run(
        ["squeue", "--noheader", "--states=all", "--format=%T"], capture_output=True, text=True
    )
    return said.stdout.split().count("RUNNING")


def ended(slurm_log):
    """State of every job that Slurm has ended, in order, with partition and time limit in minutes, as text."""
    lines = Path(slurm_log).read_text().splitlines()
    facts = r"JobState=(\S+).* Partition=(\S+) TimeLimit=(\S+)"
    return [re.search(facts, line).groups() for line in lines]


def test_the_demo_with_all_that_goes_wrong(slurm, tmp_path):
    (tmp_path / "broken.pkl").write_bytes(b"\x80 begins like a pickle")
    # more epochs than a minute has time for: Slurm ends the job, the next attempt goes on
    many = {"demo": {"pretrain": {"epochs": 6000, "patience": 6000}}}  # the demo sets its own
    long = CONFIG | {"datasets": CONFIG["datasets"] | many}
    scarce = ["--set-resources", *SCARCE, *PARTITIONS, "--retries", "6"]
    scarce += ["--default-resources", "slurm_partition=main"]
    targets = ["results/demo/table.csv", "results/broken/features.h5"]

    run = start(tmp_path, *targets, *scarce, config=long)
    while not running_jobs():
        assert run.poll() is None, (tmp_path / "run.log").read_text()[-5000:]
        time.sleep(0.5)
    run.send_signal(signal.SIGINT)  # the user changes their mind ...
    run.wait(120)
    assert not running_jobs()
    assert not (tmp_path / "results/demo/table.csv").exists()

    run = start(tmp_path, *targets, *scarce, config=long)  # ... and comes back
    run.wait()
    print((tmp_path / "run.log").read_text())  # pytest shows it if something is wrong
    assert run.returncode == 1  # the feature file is still broken
    log = tmp_path.joinpath("run.log").read_text()
    assert "OfficialError" in log or any(
        "OfficialError" in path.read_text() for path in tmp_path.joinpath("results/broken/logs").glob("*.log")
    )
    assert not (tmp_path / "results/broken/features.h5").exists()
    assert (tmp_path / "results/demo/table.csv").exists()  # and the rest is done
    for seed in (1, 2):
        epochs = (tmp_path / f"results/demo/cmc/seed{seed}/pretrain.csv").read_text().splitlines()[1:]
        assert [int(row.split(",")[0]) for row in epochs] == list(range(1, 6001))
    states = ended("/tmp/one-node-slurm/log/jobs.log")
    print(states)
    slurm_logs = "".join(p.read_text() for p in (tmp_path / ".snakemake/slurm_logs").rglob("*.log"))
    assert "exceeded memory limit" in slurm_logs  # and yet the table is there: the next attempt had more
    assert ("TIMEOUT", "train", "1") in states and ("COMPLETED", "train", "2") in states
    assert ("COMPLETED", "main", "60") in states  # extraction

    points = {"model.layers": [1], "model.heads": [4], "model.classifier_dropout": [0.1]}
    grid = {"tuning": {"grid": points | {"finetune.lr": [1.0e-3, 5.0e-4]}}}
    run = start(tmp_path, "results/demo/tuned.csv", config=long | grid)  # the grid's points share stage 1
    assert run.wait() == 0, (tmp_path / "run.log").read_text()[-5000:]
    assert "tuned_on_validation" in (tmp_path / "results/demo/tuned.csv").read_text()
