# Who runs in this folder: Snakemake's lock says that somebody does, or did, but not who.

import json
import platform
from datetime import datetime
from pathlib import Path

from cmc import files

RUN = Path(".snakemake/run.json")


onstart:
    holder = {
        "process": os.getpid(),
        "machine": platform.node(),
        "since": f"{datetime.now():%F %T}",
        "command": os.environ["CMC_COMMAND"],
    }
    files.write_text(RUN, json.dumps(holder))


onsuccess:
    RUN.unlink(missing_ok=True)


onerror:
    RUN.unlink(missing_ok=True)


def holder_of(locks):
    """Whose locks these are, and the way out; what a killed run left behind may be older than they."""
    try:
        run = json.loads(RUN.read_text())
        known = RUN.stat().st_mtime >= max(lock.stat().st_mtime for lock in locks)
    except (OSError, ValueError):
        known = False
    if not known:
        return "This folder has a lock of a run that is planning its jobs, or was killed while it did."
    whose = (
        f"The lock of this folder is that of process {run['process']} on {run['machine']},"
        f" since {run['since']}: {run['command']}\n"
    )
    if (
        run["machine"] == platform.node()
        and not Path(f"/proc/{run['process']}").exists()
    ):
        return (
            whose
            + "It no longer runs: `snakemake --unlock` frees the folder, and the same command goes on."
            " Jobs that it gave to a cluster may still run: end them first."
        )
    return (
        whose + "Wait for it to end, or end it; its files are not to be written twice."
    )


if workflow.is_main_process and (
    locks := list(Path(".snakemake/locks").glob("*.lock"))
):
    print(holder_of(locks), file=sys.stderr)
