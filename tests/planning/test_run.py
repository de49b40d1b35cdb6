"""What a run says of itself."""

import contextlib
import logging
import os
import pty
import subprocess
import sys

import pytest

from cmc.planning import run

BEFORE = {"model": {"top_k": 3}, "settings": {"lr": 0.001, "epochs": 3, "loss_weights": {"M": 1}}}
NOW = {"model": {"top_k": 3}, "settings": {"lr": 0.0005, "epochs": 3, "loss_weights": {"M": 1}, "new": True}}


def reason(before, now):
    """As Snakemake words it."""
    sides = (",".join(map(repr, side)) or "<nothing exclusive>" for side in (before, now))
    union = "Union of exclusive params before and now across all output"
    return "Params have changed since last execution: {}: before: {} now: {} ".format(union, *sides)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ([BEFORE], [NOW], ["finetune.lr 0.001 -> 0.0005", "finetune.new unset -> True"]),
        (["a" * 64], ["b" * 64], ["its code has changed"]),
        (["three_class"], ["two_class"], ["three_class -> two_class"]),
        ([BEFORE, "a" * 64], [], None),
        ([[-1, 1]], [[-3, 3]], ["[-1, 1] -> [-3, 3]"]),
        ([], [{"x": "y"}], ["x unset -> y"]),
    ],
)
def test_settings_that_changed(before, now, told):
    found = run.changes(reason(before, now), "finetune")
    assert found == told if told is not None else "its code has changed" in found


def test_other_reasons_stay():
    assert run.changes("Input files updated by another job: a.h5", "finetune") == []
    assert run.changes(reason([BEFORE], [NOW]).replace("'lr'", "?"), "finetune") == ["its settings"]


def test_each_change_is_told_once(capsys):
    reasons = run.Plain()
    for rule in ("finetune", "finetune", "pretrain"):
        record = logging.makeLogRecord({"reason": reason([BEFORE], [NOW]), "rule_name": rule})
        assert reasons.filter(record) and len(record.reason) < 80
    assert reasons.filter(logging.makeLogRecord({"reason": "Missing output files: x", "rule_name": "a"}))
    assert reasons.filter(logging.makeLogRecord({}))
    assert capsys.readouterr().err.splitlines() == [
        "finetune runs again: finetune.lr 0.001 -> 0.0005, finetune.new unset -> True",
        "pretrain runs again: pretrain.lr 0.001 -> 0.0005, pretrain.new unset -> True",
    ]


def test_a_failed_job_has_said_what_went_wrong_itself(capsys):
    plain = run.Plain()
    begun = logging.makeLogRecord({"levelno": logging.INFO, "rule_name": "a", "log": ["a.log"]})
    failed = logging.makeLogRecord({"levelno": logging.ERROR, "rule_name": "a", "log": ["a.log"]})
    for record in (begun, failed):
        assert plain.filter(record) and record.log == []
    assert capsys.readouterr().err == "a: its log is a.log\n"
    where = "CalledProcessError in file \"x.smk\", line 1:\nCommand 'python x.py' "
    assert not plain.filter(logging.makeLogRecord({"msg": where + "returned non-zero exit status 1."}))
    assert plain.filter(logging.makeLogRecord({"msg": where + "died with <Signals.SIGKILL: 9>."}))


def test_after_ctrl_c_no_job_is_called_failed(capsys):
    plain = run.Plain()
    assert plain.filter(logging.makeLogRecord({"msg": "Terminating processes on user request, this ..."}))
    ended = logging.makeLogRecord({"levelno": logging.ERROR, "rule_name": "a", "log": ["a.log"]})
    assert not plain.filter(ended) and capsys.readouterr().err == ""


def test_what_there_is_to_look_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/mine").mkdir(parents=True)
    for name in ("table.csv", "report.html", "features.h5"):
        (tmp_path / "results/mine" / name).touch()
    assert run.next_look(["mine", "other"]) == "Look at results/mine/: table.csv, report.html"


BARS = """
import io, os, subprocess, sys
from cmc.planning import run
run.share_terminal()
assert sys.stderr.isatty() and sys.stdout.isatty()  # the bars and what is coloured still see the terminal
terminal, sys.stderr = sys.stderr, io.StringIO()  # as the bars do while they are drawn
subprocess.run("echo from stdout; echo from stderr >&2", shell=True, check=True)
while sys.stderr.getvalue().count("\\n") < 2:
    pass
assert sys.stderr.getvalue() == "from stdout\\nfrom stderr\\n", sys.stderr.getvalue()
sys.stderr = terminal
subprocess.run("echo later", shell=True, check=True)
print("the end", file=sys.stderr)
"""


def on_a_terminal(program):
    """What a program shows on a terminal, and its exit code."""
    ours, its = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", program], stdin=its, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal's end
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    return shown.decode(), process.wait()


def test_what_jobs_print_goes_through_the_process_that_draws_the_bars():
    shown, code = on_a_terminal(BARS)
    assert code == 0, shown
    assert sorted(shown.split("\r\n")) == ["", "later", "the end"]


def test_without_a_terminal_nothing_is_changed():
    program = "import sys; from cmc.planning import run; old = sys.stderr; run.share_terminal()"
    subprocess.run(
        [sys.executable, "-c", f"{program}; assert sys.stderr is old"], check=True, capture_output=True
    )
