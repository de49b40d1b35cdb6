import json
import subprocess

from cmc.report import provenance

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def test_everything_is_written_down(tmp_path):
    (tmp_path / "label.csv").write_text("abc")
    (tmp_path / "table.csv").write_text("")
    (tmp_path / "b").mkdir()
    provenance.write(
        tmp_path / "p.json",
        command="snakemake 'a b'",
        config={"seeds": [1], "root": "/ü"},
        inputs=[tmp_path / "label.csv"],
        results=[tmp_path / "table.csv"],
        benchmarks=tmp_path / "b",
    )
    facts = json.loads((tmp_path / "p.json").read_text())
    assert facts["command"] == "snakemake 'a b'" and facts["config"] == {"seeds": [1], "root": "/ü"}
    assert facts["inputs"][str(tmp_path / "label.csv")].startswith("ba7816bf")
    assert facts["results"][str(tmp_path / "table.csv")].startswith("e3b0c442")
    assert facts["versions"]["torch"].startswith("2.") and facts["machine"]["cores"] > 0
    assert facts["rules"] == {}


def test_costs_are_summed_by_rule(tmp_path):
    rows = {
        "train-a-1": "2.0\t0:00:02\t100\t1\t1\t1\t0\t0\t50\t1.5\n",
        "train-b-1": "3.04\t0:00:03\t300.4\t1\t1\t1\t0\t0\t50\t2.5\n",
        "short_one": "0.01\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\t0\tNA\n",
        "old-1": "0.01\t0:00:00\t-\t-\t-\t-\t-\t-\t0\t-\n",
    }
    for name, row in rows.items():
        (tmp_path / f"{name}.tsv").write_text(HEADER + row)
    unknown = {"jobs": 1, "seconds": 0.0, "cpu_seconds": None, "peak_mb": None}
    assert provenance.costs(tmp_path) == {
        "train": {"jobs": 2, "seconds": 5.0, "cpu_seconds": 4.0, "peak_mb": 300},
        "short_one": unknown,
        "old": unknown,
    }


def test_the_commit_and_what_differs_from_it(tmp_path):
    assert provenance.commit(tmp_path) == {"commit": None, "modified": None}
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    (tmp_path / "new").touch()
    found = provenance.commit(tmp_path)
    assert len(found["commit"]) == 40 and found["modified"] == ["?? new"]
