"""What every script does first: talk to its log and the terminal, use the threads and the GPU it was given."""

import fcntl
import itertools
import logging
import os
import sys
import tempfile
from pathlib import Path


def start(snakemake) -> None:
    # as the config sets them, not as few as there are cores: results shall not depend on the machine
    threads = snakemake.resources.get("threads_set", "1")
    # NumPy alone uses OpenBLAS: with one thread, what it sums depends on no setting either
    for library, count in {"OMP": threads, "MKL": threads, "NUMEXPR": threads, "OPENBLAS": "1"}.items():
        os.environ[f"{library}_NUM_THREADS"] = count
    name = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
    to_file, to_terminal = logging.FileHandler(snakemake.log[0], mode="w"), logging.StreamHandler()
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[to_file, to_terminal])
    to_terminal.setLevel(logging.INFO)
    logging.getLogger("cmc").setLevel(logging.DEBUG)  # all of which goes into the log
    sys.excepthook = lambda kind, error, trace: stop(to_file, name, kind, error, trace)


def stop(to_file: logging.Handler, name: str, kind: type, error: BaseException, trace) -> None:
    """The traceback belongs in the log; the terminal gets what went wrong."""
    logging.root.removeHandler(logging.root.handlers[1])
    if issubclass(kind, KeyboardInterrupt):
        told = str(error) or "stopped"
        logging.error(told)
    else:
        told = f"{kind.__name__}: {error}"
        logging.error("", exc_info=(kind, error, trace))
    print(f"{name}: {told}", file=sys.stderr)


def device(setting: str) -> str:
    """The device of a setting, with `auto` decided, and torch told to compute the same numbers every time."""
    import torch

    from cmc.training import determinism, devices

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    determinism.same_bytes()
    if setting in ("auto", "cuda") and (count := torch.cuda.device_count()) > 1:  # starts no GPU yet
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count))))
        os.environ["CUDA_VISIBLE_DEVICES"] = least_used(visible.split(","))
    return devices.choose(setting)


def least_used(gpus: list[str]) -> str:
    """The GPU that the fewest jobs of this user have; this job counts until its process ends, however it does."""
    for place, gpu in ((place, gpu) for place in itertools.count() for gpu in gpus):
        name = f"cmc-{os.getuid()}-gpu{gpu.replace('/', '_')}-{place}.lock"
        lock = os.open(Path(tempfile.gettempdir()) / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return gpu
