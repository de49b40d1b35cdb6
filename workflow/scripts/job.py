"""What every script does first: talk to the rule's log and the terminal, and use the threads it was given."""

import logging
import os
import sys


def start(snakemake) -> None:
    for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
        os.environ[f"{library}_NUM_THREADS"] = str(snakemake.threads)
    name = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
    to_file, to_terminal = logging.FileHandler(snakemake.log[0], mode="w"), logging.StreamHandler()
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[to_file, to_terminal])
    logging.getLogger("cmc").setLevel(logging.INFO)
    sys.excepthook = lambda kind, error, trace: stop(to_file, name, kind, error, trace)


def stop(to_file: logging.Handler, name: str, kind: type, error: BaseException, trace) -> None:
    """The traceback belongs in the log; the terminal gets what went wrong."""
    logging.root.removeHandler(logging.root.handlers[1])
    logging.error("", exc_info=(kind, error, trace))
    print(f"{name}: {kind.__name__}: {error}", file=sys.stderr)


def device(setting: str) -> str:
    """The device of a setting, with `auto` decided, and torch told to compute the same numbers every time."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.use_deterministic_algorithms(True, warn_only=True)
    return ("cuda" if torch.cuda.is_available() else "cpu") if setting == "auto" else setting
