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
from cmc.evaluation import signatures, tables, warnings
from cmc.evaluation.warnings import Warned
from cmc.labels import CLASSES, Scheme
from cmc.metrics import METRICS
from cmc.report import page

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
    frame = pd.DataFrame({"clip_id": [f"c{i}" for i in range(clips)], "class": np.arange(clips) % 3})
    for prefix in ("logits", *(f"pretrain_{modality}" for modality in MODALITIES)):
        frame[[f"{prefix}_{name}" for name in CLASSES]] = generator.normal(size=(clips, 3))
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
        {"epoch": epoch, "train_loss": 3 / epoch, "lr": 0.001, "validation_loss": None}
        | {f"validation_loss_{modality}": 1 / epoch for modality in MODALITIES}
        | {f"flips_{modality}": flips for modality in MODALITIES}
        for epoch in range(1, epochs + 1)
    ]
    return {"seed": 1, "pretrain": pretrain, "finetune": [{"epoch": 1, "train_loss": 2.0}]}


def fake_signatures(text_weight=0.5):
    """Of one seed whose stage 1 was short."""
    subsets = {"test": {"n": 40}, "msc": {"acc2": 0.8, "n": 20}, "msi": {"acc2": 0.7, "n": 20}}
    scores = {"models": {"cmc": subsets}, "router_weights": {"text": text_weight}, **POLARITY.facts}
    return signatures.measure(scores, "cmc", [fake_history()["pretrain"]], training_clips=40)


def render(**changes):
    arguments = {
        "dataset": "demo",
        "table": fake_table(),
        "predictions": [fake_predictions(1), fake_predictions(2)],
        "histories": [fake_history(), fake_history()],
        "metrics": fake_runs(),
        "quarantine": pd.DataFrame({"clip_id": ["c99"], "reason": ["no face"]}),
        "warned": ["24 of 59 clips have no sound. Look at them."],
        "settings": {"seeds": [1, 2], "pretrain": {"epochs": 100, "bert": {"frozen": True}}},
    }
    return page.render(**(arguments | changes))


@pytest.fixture(scope="module")
def html():
    return render()


def test_every_part_is_there(html):
    page = Page(html)
    assert page.open == []
    assert "cmc reaches an Acc-2 of 75.00 ± 0.00 % on 12 test clips, 2 seeds." in page.text
    for part in ("Results", "Failure signatures", "Confusion", "Learning curves", "Quarantine", "Settings"):
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
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & {
        tag for tag, _ in page.elements
    }
    for _, attributes in page.elements:
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    assert not re.search(r"@import|url\((?!#)", html)


def test_hostile_names_are_text():
    hostile = {
        place: f"{HOSTILE}{place}" for place in ("dataset", "variant", "clip_id", "column", "key", "value")
    }
    html = render(
        dataset=hostile["dataset"],
        table=fake_table(variant=hostile["variant"]),
        variant=hostile["variant"],
        histories=[{"pretrain": [{"epoch": 1, f"loss{HOSTILE}": 1.0}]}],
        quarantine=pd.DataFrame({"clip_id": [hostile["clip_id"]], hostile["column"]: ["no face"]}),
        settings={hostile["key"]: {"inner": [hostile["value"]]}},
    )
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.open == []
    assert {place for place, name in hostile.items() if name not in page.text} == set()
    described = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"]
    assert any(f"loss{HOSTILE}" in description for description in described)


def test_ids_are_unique_and_references_resolve(html):
    page = Page(html)
    assert len(page.ids()) == len(set(page.ids()))
    targets = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"|aria-labelledby="([^"]+)"', html)
    assert targets
    assert {next(filter(None, target)) for target in targets} <= set(page.ids())


def test_the_page_can_be_read_without_seeing_it(html):
    page = Page(html)
    attributes = {tag: attributes for tag, attributes in reversed(page.elements)}
    assert attributes["html"]["lang"] == "en"
    assert re.search(r"<title>demo: .+</title>", html)
    figures = [found for tag, found in page.elements if tag == "svg"]
    assert len(figures) == 5  # consistency, router, two losses, flips
    assert all(figure["role"] == "img" and figure["aria-label"] for figure in figures)
    assert any("cmc: MSC 80.0, MSI 70.0" in figure["aria-label"] for figure in figures)


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
    html = render(table=fake_table(msc=None, msi=None))
    assert "no MSC and MSI to compare" in html
    assert sum(tag == "svg" for tag, _ in Page(html).elements) == 4


def test_without_histories_or_quarantine_the_page_says_so():
    html = render(histories=[], quarantine=pd.DataFrame({"clip_id": [], "reason": []}))
    assert "No training history" in html
    assert "No clip was left out" in html


def test_curves_draw_what_is_there_and_nothing_else():
    figures = list(page.curve_figures([fake_history(), {"finetune": []}]))
    labels = [re.search(r'aria-label="([^"]+)"', figure)[1] for figure in figures]
    assert len(figures) == 3
    assert "over epochs, 1 run;" in labels[0]
    assert "lr" not in labels[0].split(";")[1]
    assert "flips_text" in labels[1]
    assert "train_loss" in labels[2] and "validation" not in labels[2]


def test_a_run_without_text_is_shown_without_text():
    pooled = fake_predictions(1).drop(columns="router_text")
    pooled = pooled.drop(columns=[column for column in pooled if column.startswith("pretrain_text")])
    figure = page.router_figure(pooled, POLARITY)
    assert "Means: audio 0.25, vision 0.25" in figure
    assert list(page.confusions(pooled, "cmc", POLARITY)) == ["cmc", "audio", "vision"]


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
            facts = {"recipe": recipe, "history": fake_history()[stage], "versions": {"torch": "2.13.0"}}
            paths[key].append(tmp_path / f"{stage}{seed}.safetensors")
            paths[key][-1].with_suffix(".json").write_text(json.dumps(facts))
    files = paths | {name: tmp_path / f"{name}.csv" for name in ("table", "quarantine", "warned")}
    warnings.write(
        [Warned("audio", "24 of 59 clips have no sound", 0.4, 0.01, "Look at them")], files["warned"]
    )
    page.write(tmp_path / "report.html", dataset="demo", variant="cmc", **files)
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*partial*"))
    assert written == render(
        predictions=frames,
        quarantine=pd.DataFrame({"clip_id": ["0007"], "stage": ["vision"], "reason": ["NA"]}),
        settings={
            "seeds": [1, 2],
            "pretrain": {"has0": "nonpositive_positive", "settings": {"epochs": 7}},
            "finetune": {"settings": {"epochs": 7}},
            "versions": {"torch": "2.13.0"},
        },
    )
