"""Where results come from: code, versions, settings, inputs, command, machine, and what each step cost."""

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cmc import files

BENCHMARK = {"s": "seconds", "cpu_time": "cpu_seconds", "max_rss": "peak_mb"}  # Snakemake's columns


def write(
    out: str | Path,
    *,
    command: str | None,
    config: Mapping,
    inputs: Iterable[str | Path],
    results: Iterable[str | Path],
    benchmarks: str | Path,
) -> None:
    """Write the provenance of a data set's results as JSON.

    Parameters
    ----------
    out : path
    command : str or None
        The command that asked for the results.
    config : mapping
        The settings that they depend on.
    inputs, results : iterable of path
        Files whose SHA-256 is noted.
    benchmarks : path
        Folder with Snakemake's benchmark files, <rule>-<wildcards>.tsv.
    """
    facts = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "code": commit(Path(__file__).parent),
        "versions": versions(),
        "machine": machine(),
        "config": config,
        "inputs": {str(path): files.sha256(path) for path in inputs},
        "results": {str(path): files.sha256(path) for path in results},
        "rules": costs(benchmarks),
    }
    files.write_text(out, json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def told(path: str | Path) -> dict[str, str]:
    """What a reader of a report wants to know of a file that `write` wrote: name -> text."""
    facts = json.loads(Path(path).read_text(encoding="utf-8"))
    code, machine, rules = facts["code"], facts["machine"], facts["rules"].values()
    changed = f", {len(code['modified'])} files changed" if code["modified"] else ""
    jobs = sum(own["jobs"] for own in rules)
    seconds = sum(own["cpu_seconds"] or 0 for own in rules)
    packages = ("python", "cmc-workflow", "torch", "snakemake", "transformers", "numpy")
    return {
        "Written": facts["written"],
        "Command": facts["command"],
        "Code": f"{code['commit']}{changed}" if code["commit"] else "no git repository",
        "Versions": ", ".join(
            f"{name} {facts['versions'][name]}" for name in packages if name in facts["versions"]
        ),
        "Machine": f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB,"
        f" {', '.join(machine['gpus']) or 'no GPU'}, {machine['system']}",
        "Time": f"{seconds / 60:.1f} CPU minutes in {jobs} jobs",
        "Data": ", ".join(f"{Path(name).name} {own[:12]}" for name, own in facts["inputs"].items()),
    }


def commit(folder: Path) -> dict[str, Any]:
    """The git commit of a folder's repository and the files that differ from it; None for both outside one."""
    try:
        said = [
            subprocess.run(
                ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True
            ).stdout
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "modified": None}
    return {"commit": said[0].strip(), "modified": said[1].splitlines()}


def versions() -> dict[str, str]:
    """Python's version and that of every installed distribution."""
    installed = {one.metadata["Name"]: one.version for one in distributions()}
    return {"python": platform.python_version(), **installed}


def machine() -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())


def costs(folder: str | Path) -> dict[str, dict[str, float | int | None]]:
    """Jobs, wall and CPU seconds in all, and peak memory in MB of each rule; None if no job took long enough."""
    rows = [
        pd.read_csv(path, sep="\t", na_values=["-"]).assign(rule=path.stem.split("-", 1)[0])
        for path in sorted(Path(folder).glob("*.tsv"))
    ]
    if not rows:
        return {}
    jobs = pd.concat(rows).rename(columns=BENCHMARK).groupby("rule")
    table = pd.DataFrame(
        {
            "jobs": jobs.size(),
            "seconds": jobs["seconds"].sum(min_count=1).round(1),
            "cpu_seconds": jobs["cpu_seconds"].sum(min_count=1).round(1),
            "peak_mb": jobs["peak_mb"].max().round(),
        }
    )
    return {
        rule: {name: None if pd.isna(value) else value for name, value in row.items()}
        for rule, row in table.astype(object).iterrows()
    }
