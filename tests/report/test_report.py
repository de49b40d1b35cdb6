import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmc import MODALITIES
from cmc.corpus.consistency import UNIMODAL
from cmc.evaluation import signatures, tables, warnings
from cmc.evaluation.warnings import Warned
from cmc.labels import CLASSES, Scheme
from cmc.metrics import METRICS
from cmc.report import charts, page

POLARITY = Scheme(has0="nonpositive_positive")
HOSTILE = '<script>alert("x")</script>'
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Elements with their attributes, the text, and whether every element closes."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text += data

    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def fake_predictions(seed, clips=12, text_weight=0.5):
    generator = np.random.default_rng(seed)
    classes = np.arange(clips) % 3
    frame = pd.DataFrame(
        {"clip_id": [f"c{i}" for i in range(clips)], "class": classes, "label": classes - 1.0}
    )
    for modality, column in UNIMODAL.items():
        frame[column] = (
            np.where(np.arange(clips) % 4 == 3, 1.0, classes - 1.0) if modality == "audio" else classes - 1.0
        )
    for prefix in ("logits", *(f"pretrain_{modality}" for modality in MODALITIES)):
        frame[[f"{prefix}_{name}" for name in CLASSES]] = generator.normal(size=(clips, 3))
    frame["prediction"] = frame[[f"logits_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    rest = (1 - text_weight) / 2
    return frame.assign(router_text=text_weight, router_audio=rest, router_vision=rest)


def fake_runs(msc=0.8, msi=0.7, variant="cmc", dataset="demo"):
    accuracy = {"test": 0.75, "msc": msc, "msi": msi}
    models = {
        model: {
            subset: {"n": 12} | dict.fromkeys((*METRICS, "uar", "macro_f1"), value)
            for subset, value in accuracy.items()
            if value is not None
        }
        for model in (variant, *MODALITIES, "majority")
    }
    same = {"dataset": dataset, "variant": variant, "models": models, "signatures": fake_signatures()}
    return [same | POLARITY.facts | {"seed": seed} for seed in (1, 2)]


def fake_table(**changes):
    return tables.table(fake_runs(**changes), tables.published_values())


def fake_history(epochs=3, flips=0.1):
    pretrain = [
        {"epoch": epoch, "train_loss": 3 / epoch, "lr": 0.001}
        | {
            f"{kind}_loss_{modality}": 1 / epoch
            for modality in MODALITIES
            for kind in ("train", "validation")
        }
        | {f"flips_{modality}": flips for modality in MODALITIES}
        for epoch in range(1, epochs + 1)
    ]
    finetune = [{"epoch": 1, "train_loss": 2.0, "train_loss_M": 1.0, "validation_acc2": 0.7}]
    return {"pretrain": pretrain, "finetune": finetune, "best_epoch": 1}


def fake_signatures(text_weight=0.5):
    """Of one seed whose stage 1 was short."""
    subsets = {"test": {"n": 40}, "msc": {"acc2": 0.8, "n": 20}, "msi": {"acc2": 0.7, "n": 20}}
    scores = {"models": {"cmc": subsets}, "router_weights": {"text": text_weight}, **POLARITY.facts}
    return signatures.measure(scores, "cmc", [fake_history()["pretrain"]], training_clips=40)


def fake_results(**changes):
    clips = pd.DataFrame(
        {"clip_id": [f"c{i}" for i in range(12)], "split": "test", "text": "said", "label": 1.0}
    )
    arguments = {
        "table": fake_table(),
        "predictions": [fake_predictions(1), fake_predictions(2)],
        "histories": [fake_history(), fake_history()],
        "metrics": fake_runs(),
        "quarantine": pd.DataFrame({"clip_id": ["c99"], "reason": ["no face"]}),
        "warned": ["24 of 59 clips have no sound. Look at them."],
        "settings": {"seeds": [1, 2], "pretrain": {"epochs": 100, "bert": {"frozen": True}}},
        "clips": clips,
    }
    return page.Results(**(arguments | changes))


def render(dataset="demo", variant="cmc", **changes):
    return page.render(dataset, fake_results(**changes), variant)


@pytest.fixture(scope="module")
def html():
    return render()


def test_every_part_is_there(html):
    page = Page(html)
    assert page.open == []
    assert "cmc reaches an Acc-2 of 75.00 ± 0.00 % on 12 test clips, 2 seeds." in page.text
    for part in (
        "Results",
        "Failure signatures",
        "Confusion",
        "Learning",
        "Test clips",
        "Quarantine",
        "Settings",
    ):
        assert part in page.text
    assert "no face" in page.text and "24 of 59 clips have no sound. Look at them." in page.text
    assert "pretrain.bert.frozen" in page.text


def test_same_input_same_bytes_in_another_process(html):
    script = "import sys, test_report; sys.stdout.buffer.write(test_report.render().encode())"
    tests = Path(__file__).parent  # of this room
    path = os.pathsep.join([str(tests), str(tests.parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    assert other.stdout == html.encode()


def test_nothing_is_loaded_from_elsewhere(html):
    page = Page(html)
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    policy = next(own for tag, own in page.elements if own.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'") and "http" not in policy["content"]
    assert len(html) < 2**21


def test_hostile_names_are_text():
    hostile = {
        place: f"{HOSTILE}{place}" for place in ("dataset", "variant", "clip_id", "column", "key", "value")
    }
    clips = pd.DataFrame(
        {"clip_id": ["c1"], "split": ["test"], "text": [HOSTILE + "\u2028&<!--"], "label": [1.0]}
    )
    html = render(
        dataset=hostile["dataset"],
        table=fake_table(variant=hostile["variant"]),
        metrics=fake_runs(variant=hostile["variant"]),
        variant=hostile["variant"],
        quarantine=pd.DataFrame({"clip_id": [hostile["clip_id"]], hostile["column"]: ["no face"]}),
        settings={hostile["key"]: {"inner": [hostile["value"]]}},
        clips=clips,
        links={"c1": HOSTILE},
    )
    page = Page(html)
    assert [tag for tag, _ in page.elements].count("script") == 4  # data, data, library, program
    assert page.open == [] and HOSTILE not in html
    assert {place for place, name in hostile.items() if name not in page.text} == set()
    data = re.search(r'<script id="clips-data" type="application/json">(.*?)</script>', html, re.S)[1]
    told = json.loads(data)["clips"]
    assert next(one for one in told if one["id"] == "c1")["text"] == HOSTILE + "\u2028&<!--"


def test_ids_are_unique_and_references_resolve(html):
    page = Page(html)
    assert len(page.ids()) == len(set(page.ids()))
    targets = re.findall(r'href="#([^"]+)"|aria-labelledby="([^"]+)"', html)
    assert targets
    assert {next(filter(None, target)) for target in targets} <= set(page.ids())


def test_the_page_can_be_read_without_seeing_it(html):
    page = Page(html)
    attributes = {tag: attributes for tag, attributes in reversed(page.elements)}
    assert attributes["html"]["lang"] == "en"
    assert re.search(r"<title>demo: .+</title>", html)
    told = {own["data-chart"]: own["data-told"] for _, own in page.elements if "data-chart" in own}
    assert list(told) == ["accuracy", "routing", "loss_pretrain", "loss_finetune", "validation", "labels"]
    assert "cmc, MSC: modalities agree: 80.0; cmc, MSI: they don't: 70.0" in told["accuracy"]


def test_only_the_demo_says_that_its_numbers_mean_nothing(html):
    assert "these numbers say nothing about people" in html
    assert "these numbers say nothing about people" not in render(dataset="chsims")


def test_confusions_are_summed_over_seeds():
    classes = {"class": [0, 1, 2, 2]}
    said = ([0, 1, 2, 0], [0, 2, 2, 0])
    frames = [
        pd.DataFrame(classes | {f"logits_{name}": np.eye(3)[answers][:, c] for c, name in enumerate(CLASSES)})
        for answers in said
    ]
    counts = page.confusions(pd.concat(frames), "cmc", POLARITY)
    assert list(counts) == ["cmc"]
    assert counts["cmc"].tolist() == [[2, 0, 0], [0, 1, 1], [2, 0, 2]]


def test_a_class_of_few_clips_has_no_percentages_in_the_confusion():
    shares = [render(predictions=[fake_predictions(1, clips)]).count(" %</small>") for clips in (29, 30)]
    assert shares == [2 * 3 * 4, 3 * 3 * 4]  # classes x columns x models


def test_without_subsets_the_page_says_so():
    assert "no MSC and MSI to compare" in render(table=fake_table(msc=None, msi=None))


def test_the_data_s_card_is_the_summary_by_split():
    rows = [("clips", "train", "clips", "7"), ("clips", "test", "clips", "3"), ("lengths", "test", "x", "1")]
    summary = pd.DataFrame(rows, columns=["section", "split", "name", "value"])
    assert page.card(summary).values.tolist() == [["clips", "7", "3"]]
    cost = pd.DataFrame({"model": ["cmc"], "gflops_a_clip": [1.5], "runs": [None]})
    text = Page(render(summary=summary, experiments={"cost": cost})).text
    assert "gflops a clip" in text and "1.5" in text and "Not measured" not in text


def test_a_table_of_other_settings_does_not_agree():
    table = fake_table()
    other = table.assign(acc2_mean=table["acc2_mean"] + 1)
    assert page.agrees(table, table) and not page.agrees(other, table)
    assert not page.agrees(table.assign(model="another"), table)  # nothing in common
    assert page.agrees(pd.DataFrame({"model": ["cmc"], "runs": [3]}), table)
    assert "made with other features or settings: ablation" in render(stale=["ablation"])


def test_tables_older_than_the_features_or_of_other_settings_are_named(tmp_path):
    table, places = (
        fake_table(),
        [tmp_path / f"{name}.csv" for name in ("ablation", "old", "other", "nosuch")],
    )
    for path in places[:2]:
        tables.write(table, path)
    tables.write(table.assign(acc2_mean=table["acc2_mean"] + 1), places[2])
    (tmp_path / "features.h5").touch()
    for path, seconds in zip(places[:3], (5, -5, 5), strict=True):
        made = (tmp_path / "features.h5").stat().st_mtime + seconds
        os.utime(path, (made, made))
    found, stale = page.beside(places, tables.read(places[0]), tmp_path / "features.h5")
    assert list(found) == ["ablation"] and stale == ["old", "other"]


def test_of_too_few_clips_nothing_is_drawn():
    runs = fake_runs()
    for own in runs:
        for model in own["models"].values():
            for scores in model.values():
                scores["n"] = 5
    html = render(table=tables.table(runs, tables.published_values()), metrics=runs)
    assert 'data-chart="accuracy"' not in html and "too few for percentages" in html


def test_what_is_not_there_is_said():
    html = render(histories=[], quarantine=pd.DataFrame({"clip_id": [], "reason": []}))
    assert "No clip was left out" in html and 'data-chart="loss_pretrain"' not in html
    for said in ("No pseudo label ever left", "Nothing was tuned", "No other table was made"):
        assert said in html


def test_curves_draw_what_is_there_and_nothing_else():
    drawn = {
        one.name: one.data for one in charts.learning([fake_history(), {"finetune": []}], POLARITY, "cmc")
    }
    assert list(drawn) == ["loss_pretrain", "loss_finetune", "validation"]
    first = drawn["loss_pretrain"]
    assert set(first["model"]) == set(MODALITIES) and set(first["kind"]) == {"training", "validation"}
    assert first.query("model == 'text' and kind == 'training'")["loss"].tolist() == [1, 1 / 2, 1 / 3]
    assert drawn["loss_finetune"]["model"].tolist() == ["cmc"]
    assert drawn["validation"]["acc2"].tolist() == [70.0] and drawn["validation"]["best"].tolist() == [True]


def test_a_run_without_text_is_shown_without_text():
    without = [
        one.drop(columns=[name for name in one if name.startswith(("pretrain_text", "router_text"))])
        for one in (fake_predictions(1), fake_predictions(2))
    ]
    html = render(predictions=without)
    assert 'data-chart="routing"' not in html and "Emotion recognition from audio and vision" in html
    assert list(page.confusions(without[0], "cmc", POLARITY)) == ["cmc", "audio", "vision"]


def test_signatures_stand_there_by_seed():
    signed = [
        run | {"signatures": fake_signatures(weight)}
        for run, weight in zip(fake_runs(), (0.71, 0.35), strict=True)
    ]
    weight, flips, gap = page.checks([run["signatures"] for run in signed])
    assert weight.measured == "0.71, 0.35" and (weight.worrying, weight.known) == (1, 2)
    assert flips.measured == "stage 1 ended by epoch 20" and flips.known == 0
    assert gap.measured == "10.0" and gap.limit == "over 25.0" and gap.worrying == 0
    text = Page(render(metrics=signed)).text
    assert "worrying in 1 of 2" in text and "not measured" in text


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="at least one seed"):
        render(predictions=[])
    with pytest.raises(ValueError, match=r"'cmc_gt'.*'cmc'"):
        render(variant="cmc_gt")


def test_write_reads_what_the_stages_wrote(tmp_path):
    frames = [fake_predictions(seed).assign(clip=lambda frame: "000" + frame["clip_id"]) for seed in (1, 2)]
    tables.write(fake_table(), tmp_path / "table.csv")
    (tmp_path / "quarantine.csv").write_text("clip_id,stage,reason\n0007,vision,NA\n")
    paths = {"predictions": [], "metrics": [], "pretrained": [], "finetuned": []}
    for seed, frame, scores in zip((1, 2), frames, fake_runs(), strict=True):
        paths["metrics"].append(tmp_path / f"{seed}.json")
        paths["metrics"][-1].write_text(json.dumps(scores))
        paths["predictions"].append(tmp_path / f"{seed}.csv")
        frame.to_csv(paths["predictions"][-1], index=False)
        for stage, key in (("pretrain", "pretrained"), ("finetune", "finetuned")):
            recipe = {"stage": stage, "seed": seed, "has0": "nonpositive_positive", "settings": {"epochs": 7}}
            facts = {
                "recipe": recipe,
                "history": fake_history()[stage],
                "best_epoch": 1,
                "versions": {"torch": "2.13.0"},
            }
            paths[key].append(tmp_path / f"{stage}{seed}.safetensors")
            paths[key][-1].with_suffix(".json").write_text(json.dumps(facts))
    files = paths | {name: tmp_path / f"{name}.csv" for name in ("table", "quarantine", "warned")}
    warnings.write(
        [Warned("audio", "24 of 59 clips have no sound", 0.4, 0.01, "Look at them")], files["warned"]
    )
    found = page.gather(**files)
    page.write(tmp_path / "report.html", "demo", found, "cmc")
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*partial*"))
    assert written == render(
        clips=None,
        predictions=frames,
        quarantine=pd.DataFrame({"clip_id": ["0007"], "stage": ["vision"], "reason": ["NA"]}),
        settings={
            "seeds": [1, 2],
            "pretrain": {"has0": "nonpositive_positive", "settings": {"epochs": 7}},
            "finetune": {"settings": {"epochs": 7}},
            "versions": {"torch": "2.13.0"},
        },
    )
