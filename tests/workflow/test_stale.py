"""A table of other settings is never taken for the current one."""

import shutil

import pytest
from small_run import ONE_EPOCH, edited, merged, planned, snakemake

TABLE = "results/demo/table.csv"


@pytest.fixture
def finished(demo, tmp_path):
    """A finished run of one's own, to be broken."""
    folder = tmp_path / "run"
    shutil.copytree(demo[0], folder)
    return folder


def test_a_rerun_that_fails_is_not_done(finished):
    """The checkpoints of a job that fails are deleted, its table is not (Snakemake issue 1978)."""
    other = merged(ONE_EPOCH, {"datasets": {"demo": {"finetune": {"lr": 0.0007}}}})
    before = (finished / TABLE).read_bytes()
    script = finished / "project/workflow/scripts/finetune.py"
    with edited(script, b"raise SystemExit('no')\n"):
        snakemake(finished, TABLE, config=other, check=False)
    assert (finished / TABLE).read_bytes() == before
    jobs = planned(finished, TABLE, config=other)
    assert {"finetune", "evaluate", "table"} <= set(jobs)
    snakemake(finished, TABLE, config=other)
    assert planned(finished, TABLE, config=other) == {}
