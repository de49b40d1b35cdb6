"""What a run says of itself: why a stage runs again, what to look at afterwards."""

import ast
import atexit
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHANGED = re.compile(
    r"Params have changed since last execution: .*?before: (?P<before>.*) now: (?P<now>.*)", re.DOTALL
)
CHECKSUM = re.compile(r"[0-9a-f]{64}")
FAILED = re.compile(r"CalledProcessError in file .*returned non-zero exit status 1\.", re.DOTALL)
STOPPED = "Terminating processes on user request"
NOTHING = "<nothing exclusive>"
SHOWN = 6  # changes of a stage that are told
LOOKED_AT = ("table.csv", "report.html", "summary.md", "warnings.csv", "quarantine.csv", "provenance.json")


# ------------------------------------------------------------------------------------------ in the terminal


def share_terminal() -> None:
    """Let what jobs print go through this process, which draws the bars: it would be erased with them.

    Jobs inherit a pipe in the place of the terminal. A thread writes its lines to `sys.stderr`, which the bars
    move above themselves while they are drawn. Without a terminal nothing is changed.
    """
    if not os.isatty(2):
        return
    source, sink = os.pipe()
    terminals = {}
    for number, name in ((1, "stdout"), (2, "stderr")):
        if os.isatty(number):
            stream, terminals[number] = getattr(sys, name), os.dup(number)
            stream.flush()
            own = open(
                terminals[number], "w", buffering=1, encoding=stream.encoding, errors="replace", closefd=False
            )
            setattr(sys, name, own)
            os.dup2(sink, number)
    os.close(sink)

    def pass_on() -> None:
        with open(source, errors="replace") as lines:
            for line in lines:
                sys.stderr.write(line)
                sys.stderr.flush()

    relay = threading.Thread(target=pass_on, daemon=True)
    relay.start()

    def give_back() -> None:
        for number, terminal in terminals.items():
            os.dup2(terminal, number)  # closes the pipe, but for jobs that are still there
        relay.join(timeout=1)

    atexit.register(give_back)


class Plain(logging.Filter):
    """Makes of what Snakemake logs what people want to read.

    Which settings make a stage run again is told once, where Snakemake shows all that it has. Of a job that
    failed, neither log nor command is shown: the job itself has said what went wrong. After Ctrl-C none is
    called failed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told, self.stopped = set[str](), False

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        self.stopped = self.stopped or message.startswith(STOPPED)
        if FAILED.search(message):
            return False
        logs = getattr(record, "log", None)
        if logs and self.stopped:
            return False  # it was asked to end, and has said that it did
        if logs and record.levelno >= logging.ERROR:
            print(
                f"{getattr(record, 'rule_name', 'job')}: its log is {', '.join(logs)}",
                file=sys.stderr,
                flush=True,
            )
        if logs:
            record.log = []
        reason, rule = getattr(record, "reason", None), getattr(record, "rule_name", "")
        if isinstance(reason, str) and (found := changes(reason, rule)):
            record.reason = "; ".join(found)
            shown = found[:SHOWN] + [f"and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
            line = f"{rule} runs again: {', '.join(shown)}"
            if line not in self.told:
                self.told.add(line)
                print(line, file=sys.stderr, flush=True)
        return True


def changes(reason: str, rule: str) -> list[str]:
    """What a reason for a rerun says of settings: "finetune.lr 0.001 -> 0.0005"; [] if it is none of settings.

    Parameters
    ----------
    reason : str
        Snakemake's: the params before and now that differ, without their names.
    rule : str
        The stage, for `settings` of one are called by its name.
    """
    found = CHANGED.search(reason)
    if not found:
        return []
    before, now = (values(found[key].strip()) for key in ("before", "now"))
    if before is None or now is None:
        return ["its settings"]
    old, new = (flat(side, rule) for side in (before, now))
    told = [
        f"{key} {old.get(key, 'unset')} -> {new.get(key, 'unset')}"
        for key in {**old, **new}
        if differs(key, old, new)
    ]
    strings = [{one for one in side if isinstance(one, str)} for side in (before, now)]
    if any(CHECKSUM.fullmatch(one) for one in strings[0] | strings[1]):
        told.append("its code has changed")
        strings = [{one for one in side if not CHECKSUM.fullmatch(one)} for side in strings]
    rest = [
        [one for one in side if not isinstance(one, str | Mapping)] + sorted(own)
        for side, own in zip((before, now), strings, strict=True)
    ]
    if rest[0] or rest[1]:
        told.append(f"{shown(rest[0])} -> {shown(rest[1])}")
    return told


def values(text: str) -> list[Any] | None:
    """The values of a list without brackets; None if they can't be read."""
    if text == NOTHING:
        return []
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (ValueError, SyntaxError):
        return None


def flat(side: Iterable[Any], rule: str, prefix: str = "") -> dict[str, Any]:
    """Dotted name -> value, of the mappings among some values."""
    found: dict[str, Any] = {}
    for one in side:
        if isinstance(one, Mapping):
            for key, value in one.items():
                name = f"{prefix}{rule if key == 'settings' and not prefix else key}"
                found |= flat([value], rule, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def differs(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return key not in old or key not in new or old[key] != new[key]


def shown(side: Sequence[Any]) -> str:
    text = ", ".join(map(str, side)) or "unset"
    return text if len(text) <= 80 else f"{text[:80]}..."


# ------------------------------------------------------------------------------------------ afterwards


def next_look(datasets: Iterable[str]) -> str:
    """Where the results of data sets are."""
    lines = []
    for dataset in datasets:
        folder = Path("results", dataset)
        if there := [name for name in LOOKED_AT if (folder / name).is_file()]:
            lines.append(f"Look at {folder}/: {', '.join(there)}")
    return "\n".join(lines)
