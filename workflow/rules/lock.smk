# Who runs in this folder: Snakemake's lock says that somebody does, or did, but not who.

import json
import platform
from datetime import datetime

RUN = Path(".snakemake/run.json")


onstart:
    holder = {
        "process": os.getpid(),
        "machine": platform.node(),
        "since": f"{datetime.now():%F %T}",
        "command": os.environ["CMC_COMMAND"],
    }
    RUN.write_text(json.dumps(holder))


onsuccess:
    RUN.unlink(missing_ok=True)


onerror:
    RUN.unlink(missing_ok=True)


if (
    workflow.is_main_process
    and RUN.exists()
    and any(Path(".snakemake/locks").glob("*"))
):
    run = json.loads(RUN.read_text())
    here = run["machine"] == platform.node()
    gone = here and not Path(f"/proc/{run['process']}").exists()
    print(
        f"The lock of this folder is that of process {run['process']} on {run['machine']}, since {run['since']}: "
        f"{run['command']}\n"
        + (
            "It no longer runs: `snakemake --unlock` frees the folder, and the same command goes on."
            if gone
            else "Wait for it to end, or end it; its files are not to be written twice."
        ),
        file=sys.stderr,
    )
