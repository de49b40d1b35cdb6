"""Whatever kills a run, the documented command ends it, with the bytes of an undisturbed run."""

import contextlib
import csv
import os
import platform
import random
import signal
import subprocess
import time

import pytest
from small_run import ONE_EPOCH, command, copy_project, merged, snakemake

from cmc import files

KILLS = 15
CONFIG = ONE_EPOCH | {
    "seeds": [1],
    "features": {"shards": {"text": 4, "audio": 4, "vision": 4}},
    "pretrain": {"epochs": 60, "patience": 60},
    "finetune": {"epochs": 10, "patience": 10},
}
OF_SEED = ("pretrain.safetensors", "finetune.safetensors", "predictions.csv", "metrics.json")
COMPARED = (
    *("corpus/label.csv", "features.h5", "table.csv", "subsets.csv", "quarantine.csv"),
    *(f"cmc/seed1/{name}" for name in OF_SEED),
)

pytestmark = pytest.mark.slow


def results(folder):
    return {name: files.sha256(folder / "results/demo" / name) for name in COMPARED}


def start(folder, *targets):
    """Snakemake in a process group of its own."""
    (folder / "run.log").touch()
    with open(folder / "run.log", "ab") as log:
        line = command(folder, *targets, config=CONFIG)
        return subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)


def jobs_of(group):
    """Process ids of the scripts that a run has started."""
    found = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,pgid=,args="], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split(None, 2) for line in found.splitlines()]
    return [int(pid) for pid, pgid, args in lines if int(pgid) == group and ".snakemake/scripts/" in args]


def kill(run, what, chance):
    if what == "job":
        if jobs := jobs_of(run.pid):
            os.kill(chance.choice(jobs), signal.SIGKILL)
    elif what == "snakemake":
        os.kill(run.pid, signal.SIGKILL)  # its jobs live on
    else:
        os.killpg(run.pid, signal.SIGKILL)


@pytest.mark.timeout(3000)
def test_kills_at_random_moments(tmp_path_factory):
    undisturbed, killed = tmp_path_factory.mktemp("undisturbed"), tmp_path_factory.mktemp("killed")
    snakemake(undisturbed, "results/demo/table.csv", config=CONFIG)
    seed = random.randrange(1000)
    print("seed", seed)
    chance, kills = random.Random(seed), 0
    while kills < KILLS:
        run = start(killed, "results/demo/table.csv")
        try:
            run.wait(chance.uniform(3, 9))
            break  # it came to its end between kills
        except subprocess.TimeoutExpired:
            kill(run, ("job", "snakemake", "group")[kills % 3], chance)
            kills += 1
            run.wait()
        snakemake(killed, "--unlock", config=CONFIG)
    print(kills, "kills")
    assert kills >= 6
    snakemake(killed, "results/demo/table.csv", config=CONFIG)
    assert results(killed) == results(undisturbed)
    time.sleep(1)  # orphans, if there still are any
    assert not [path for path in (killed / "results").rglob("*") if "partial" in path.name]
    assert not list((killed / "results").rglob("*.resume"))


def test_a_clip_that_kills_the_extractor_costs_itself_alone(tmp_path, monkeypatch):
    copy_project(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "project"))
    code = tmp_path / "project/cmc/features/extractors/mediapipe.py"
    before, after = "choose = self._largest", "'video_0001/0002' in str(path) and os.abort()\n        "
    assert before in code.read_text()
    code.write_text(code.read_text().replace(before, after + before))
    config = merged(CONFIG, {"quarantine": {"max_share": 0.2}})
    output = snakemake(tmp_path, "results/demo/features.h5", config=config)
    assert "a process died on it (SIGABRT); once more" in output
    [refused] = csv.DictReader((tmp_path / "results/demo/quarantine.csv").open())
    assert refused["stage"] == "vision" and "the extractor died on it (SIGABRT)" in refused["reason"]
    assert not [path for path in (tmp_path / "results").rglob("*") if "partial" in path.name]


def mounted(folder, options, line):
    """Run a command where `folder` is a small or read-only file system of its own."""
    script = f'mount -t tmpfs -o {options} tmpfs "$1" && shift && exec "$@"'
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(folder), *line],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("options", "reason"), [("size=1m", "No space left on device"), ("ro", "Read-only file system")]
)
def test_a_disk_that_takes_nothing(tmp_path, options, reason):
    (tmp_path / "results").mkdir()
    if mounted(tmp_path / "results", options, ["true"]).returncode:
        pytest.skip("this system lets nobody mount a file system of their own")
    line = command(tmp_path, "results/demo/features.h5", config=CONFIG)
    script = 'cd "$1"; shift; "$@"; find results -name ".*partial*" | sed "s/^/left: /"'
    ran = mounted(tmp_path / "results", options, ["sh", "-c", script, "sh", str(tmp_path), *line])
    assert reason in ran.stdout + ran.stderr
    assert "left: " not in ran.stdout, ran.stdout + ran.stderr


def test_a_second_run_at_once_is_refused(tmp_path):
    run = start(tmp_path, "results/demo/features.h5")
    try:
        while not jobs_of(run.pid):
            time.sleep(0.1)
        output = snakemake(tmp_path, "results/demo/features.h5", config=CONFIG, check=False)
        assert "Directory cannot be locked" in output and str(tmp_path) in output
        assert f"process {run.pid} on {platform.node()}" in output and "Wait for it" in output
        locks, aside = tmp_path / ".snakemake/locks", tmp_path / "locks"
        locks.rename(aside)  # gone, as Snakemake leaves it at the end of any other run
        output = snakemake(tmp_path, "results/demo/features.h5", config=CONFIG, check=False)
        assert "Directory cannot be locked" not in output
        assert f"process {run.pid} on {platform.node()}" in output and "is at work on results/demo" in output
        aside.rename(locks)
        run.kill()
        run.wait()
        output = snakemake(tmp_path, "results/demo/features.h5", config=CONFIG, check=False)
        assert f"process {run.pid} on {platform.node()}" in output and "snakemake --unlock" in output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
