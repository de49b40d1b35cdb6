import numpy as np
import pandas as pd
import pytest

from cmc.corpus import quarantine
from cmc.features import store, summary
from cmc.features.contract import Features

NOTHING = np.nan
NO_LABELS = (np.nan, np.nan, np.nan)
CLIPS = [  # video, clip, transcript, split, M and (T, A, V); seconds of 2, 3, ... frames
    ("video_0001", "0001", "Hello  there", "train", -0.2, (-0.2, 0.0, 0.6)),
    ("video_0001", "0002", "fine", "train", 0.0, (0.0, 0.0, 0.0)),
    ("NA", "0001", "hello there", "train", 1.0, (0.4, 0.2, 1.0)),
    ("video_0001", "0003", "bad", "valid", -1.0, (-1.0, 0.0, -0.4)),
    ("x|y", "1", "bad", "test", 0.6, (0.6, 0.6, -0.0)),
    ("z", "1", "HELLO THERE", "test", 0.2, (np.nan, 0.2, 0.2)),
]
REFUSED = [
    ("video_0001$_$0002", "manifest", "duplicate id; line 2 is kept and line 9 refused"),
    ("video_0001$_$0098", "audio", "video is missing: /data/Raw/video_0001/0098.mp4"),
    ("video_0001$_$0098", "vision", "video is missing: /data/Raw/video_0001/0098.mp4"),
    ("a|b$_$1", "vision", "video is missing: /data/Raw/a|b/1.mp4"),
    ("a|b$_$2", "manifest", "label 'a; b' is no number"),
    ("a|b$_$3", "manifest", "label_A -1.2 is outside [-1, 1]"),
    ("a|b$_$4", "manifest", "label_A 3 is outside [-3, 3]"),
]


def feature_file(path, clips=CLIPS, timed=True, rate=10.0, speakers=None):
    """Clip i has i + 2 tokens and frames, two a token in vision; the last vision frame holds nothing."""
    table = [(f"{v}$_${c}", v, text, split, M, *labels) for v, c, text, split, M, labels in clips]
    with store.create(path) as out:
        for modality in ("text", "audio", "vision"):
            clock = None if modality == "text" else rate
            out.modality(modality, store.Recipe("made", "made 1.0", {}, ["a", "b"], clock))
            for i in range(len(clips)):
                frames = (i + 2) * (2 if modality == "vision" else 1)
                values = np.ones((frames, 2), np.float32)
                values[-1:] = NOTHING if modality == "vision" else 1
                times = np.arange(frames) / 10 if timed and modality != "text" else None
                ids = np.arange(frames, dtype=np.int32) if modality == "text" else None
                out.append(modality, Features(values, times=times, token_ids=ids))
        columns = ["clip_id", "video_id", "text", "split", "label", "label_T", "label_A", "label_V"]
        named = {"speaker": speakers} if speakers else {}
        out.finish(pd.DataFrame(table, columns=columns).assign(**named))
    return path


def summarised(tmp_path, published=None, refused=(), **options):
    """(section, split, name) -> value."""
    with store.Reader(feature_file(tmp_path / "features.h5", **options)) as reader:
        listed = pd.DataFrame(list(refused), columns=quarantine.COLUMNS, dtype=str)
        table = summary.summarise(reader, listed, published)
    assert list(table) == summary.COLUMNS and (table["value"] != "").all()
    keys = list(table[["section", "split", "name"]].itertuples(index=False, name=None))
    assert len(keys) == len(set(keys))
    return dict(zip(keys, table["value"], strict=True))


def section(values, name, split="all"):
    return {key[2]: value for key, value in values.items() if key[:2] == (name, split)}


def written(tmp_path, **options):
    quarantine.write(pd.DataFrame(REFUSED, columns=quarantine.COLUMNS), tmp_path / "quarantine.csv")
    feature_file(tmp_path / "features.h5")
    with store.Reader(tmp_path / "features.h5") as reader:
        table = summary.summarise(reader, quarantine.read(tmp_path / "quarantine.csv"), **options)
    summary.write(table, tmp_path / "summary.csv", tmp_path / "summary.md", "mine", ["Take *care*."])
    return (tmp_path / "summary.csv").read_text(), (tmp_path / "summary.md").read_text()


def test_clips_videos_and_seconds(tmp_path):
    values = summarised(tmp_path, {"train": 4, "valid": 1, "test": 2}, REFUSED)
    assert section(values, "clips", "train") == {
        "clips": "3",
        "source videos": "2",
        "seconds": "1.8",  # 4, 6 and 8 frames of vision, the longer modality, at 10 a second
        "published": "4",
        "difference": "-1",
    }
    assert section(values, "clips") == {
        "clips": "6", "source videos": "4", "seconds": "5.4", "published": "7", "difference": "-1",
        "quarantined": "5",  # of the 6 that are listed one is used: its first row
    }  # fmt: skip


def test_seconds_come_from_the_rate_where_there_are_no_times(tmp_path):
    assert summarised(tmp_path, timed=False)["clips", "all", "seconds"] == "5.4"
    assert summarised(tmp_path, timed=False, rate=5.0)["clips", "all", "seconds"] == "10.8"


def test_what_is_not_known_is_no_row(tmp_path):
    clips = [(*clip[:5], NO_LABELS) for clip in CLIPS]
    values = summarised(tmp_path, clips=clips, timed=False, rate=None)
    assert not {"seconds", "published", "difference"} & set(section(values, "clips"))
    assert section(values, "agreement") == {}
    for split in ("train", "valid", "test", "all"):
        found = section(values, "consistency", split)
        assert set(found) == {"in neither"} and "no clip has" in values["no_subset", split, "reason"]
    assert section(values, "label_classes", "train") == {
        "M negative": "1", "M neutral": "1", "M positive": "1",
        "M absent": "0", "T absent": "3", "A absent": "3", "V absent": "3",
    }  # fmt: skip
    assert not any("rows a second" in name for name in section(values, "features"))


def test_labels_are_counted_by_class_and_step(tmp_path):
    values = summarised(tmp_path)
    steps, kinds = section(values, "label_steps"), section(values, "label_classes")
    assert [name for name in steps if name.startswith("M")] == [
        "M -1", "M -0.4", "M -0.2", "M 0", "M 0.2", "M 0.4", "M 0.6", "M 1",
    ]  # fmt: skip
    for label, known in {"M": 6, "T": 5, "A": 6, "V": 6}.items():
        counted = [int(n) for name, n in steps.items() if name.startswith(label)]
        assert sum(counted) == known == len(CLIPS) - int(kinds[f"{label} absent"])
        assert sum(int(kinds[f"{label} {name}"]) for name in ("negative", "neutral", "positive")) == known
    assert (steps["V 0"], steps["V 0.6"], kinds["V neutral"], kinds["A positive"]) == ("2", "1", "2", "3")


def test_labels_on_no_steps_are_counted_in_bins(tmp_path):
    labels = np.linspace(-2.5, 1.9, 60)
    clips = [("v", str(i), "t", "train", float(m), NO_LABELS) for i, m in enumerate(labels)]
    steps = section(summarised(tmp_path, clips=clips), "label_steps")
    first, *_, last = steps
    assert (len(steps), first, last) == (20, "M -2.5 to -2.25", "M 2.25 to 2.5")
    expected, _ = np.histogram(labels, np.linspace(-2.5, 2.5, 21))
    assert [int(n) for n in steps.values()] == expected.tolist()


def test_agreement_is_of_the_clips_that_have_both_labels(tmp_path):
    found = section(summarised(tmp_path), "agreement")
    assert found == {
        "M T": "1", "M A": "0.6667", "M V": "0.6667", "T A": "0.6", "T V": "0.6", "A V": "0.5",
    }  # fmt: skip


def test_subsets_are_counted_by_both_rules(tmp_path):
    values = summarised(tmp_path)
    assert section(values, "consistency", "train") == {
        "three_class msc": "2", "three_class msi": "1", "two_class msc": "2", "two_class msi": "1",
        "in neither": "0",
    }  # fmt: skip
    assert values["consistency", "valid", "three_class msc"] == "0"
    assert values["consistency", "valid", "two_class msc"] == "1"
    assert values["consistency", "test", "in neither"] == "1"
    assert values["no_subset", "test", "reason"].startswith("1 of 2 clips")
    assert section(values, "no_subset", "train") == {}


def test_lengths_and_frames_in_which_nothing_was_found(tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "BLOCK", 5)  # clips lie across blocks
    values = summarised(tmp_path)
    frames = {"text": np.arange(2, 8), "audio": np.arange(2, 8), "vision": 2 * np.arange(2, 8)}
    for modality, lengths in frames.items():
        found = [float(values["lengths", "all", f"{modality} {name}"])
                 for name in ("min", "median", "mean", "95 %", "max")]  # fmt: skip
        expected = [
            lengths.min(),
            np.median(lengths),
            lengths.mean(),
            np.percentile(lengths, 95),
            lengths.max(),
        ]
        assert found == pytest.approx(expected)
    assert values["lengths", "valid", "vision max"] == "10"
    assert section(values, "nothing_found") == {"audio": "0", "vision": f"{6 / 54:.4f}"}
    assert section(values, "nothing_found", "valid") == {"audio": "0", "vision": "0.1"}


def test_videos_and_transcripts_in_several_splits_are_counted_and_named(tmp_path):
    values = summarised(tmp_path)
    assert section(values, "leakage") == {
        "source videos": "1", "clips of these source videos": "3",
        "transcripts": "2", "clips of these transcripts": "5",
    }  # fmt: skip
    assert section(values, "leakage", "train") == {
        "source videos": "1", "clips of these source videos": "2",
        "transcripts": "1", "clips of these transcripts": "2",  # twice in one split
    }  # fmt: skip
    assert section(values, "shared_videos", "train") == {"video_0001": "2"}
    assert section(values, "shared_videos", "test") == {}


def test_speakers_in_several_splits_are_counted_and_named(tmp_path):
    values = summarised(tmp_path, speakers=["anna", "", "ben", "", "anna", "ben"])
    found = section(values, "leakage")
    assert (found["speakers"], found["clips of these speakers"]) == ("2", "4")  # nobody is no speaker
    assert section(values, "shared_speakers") == {"anna": "2", "ben": "2"}
    assert section(values, "shared_speakers", "valid") == {}


def test_empty_transcripts_are_not_the_same_transcript(tmp_path):
    clips = [(f"v{i}", "1", "", split, 0.0, NO_LABELS) for i, split in enumerate(("train", "valid", "test"))]
    assert set(section(summarised(tmp_path, clips=clips), "leakage").values()) == {"0"}


def test_the_quarantine_is_counted_by_stage_and_kind_of_reason(tmp_path):
    assert section(summarised(tmp_path, refused=REFUSED), "quarantine") == {
        "manifest: label_A … is outside […, …]": "2",
        "vision: video is missing": "2",
        "audio: video is missing": "1",
        "manifest: duplicate id": "1",
        "manifest: label … is no number": "1",
    }


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("no face in any of 31 frames", "no face in any of … frames"),
        ("can't be read to its end (it's cut): replace or re-encode", "can't be read to its end (it's cut)"),
        ("text does not fit float16", "text does not fit float16"),
        ('video_id "it\'s" is no plain file name', "video_id … is no plain file name"),
        ("label nan is outside [-3, 3]", "label nan is outside […, …]"),
    ],
)
def test_a_kind_of_reason_is_the_reason_without_its_details(reason, kind):
    assert summary.kind(reason) == kind


def test_what_is_worrying_stands_at_the_top_of_the_page(tmp_path):
    _, page = written(tmp_path, published={"train": 4, "valid": 1, "test": 1})
    assert page.startswith("# mine\n\n- **Take \\*care\\*.**\n\n## Clips")


def test_the_page_holds_well_formed_tables(tmp_path):
    _, page = written(tmp_path)
    assert page.startswith("# mine\n") and "## Quarantine" in page
    assert "\n\n1 of 6 clips lack a unimodal label" in page
    blocks = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(blocks) == page.count("\n## ") == 11
    for lines in blocks:
        cells = {line.replace(r"\|", "").count("|") for line in lines}
        assert len(cells) == 1, lines
    [matrix] = [lines for lines in blocks if lines[2].startswith("| M |")]
    assert [line.split(" | ")[1:] for line in matrix[2:]] == [
        ["1", "1", "0.6667", "0.6667 |"],
        ["1", "1", "0.6", "0.6 |"],
        ["0.6667", "0.6", "1", "0.5 |"],
        ["0.6667", "0.6", "0.5", "1 |"],
    ]


def test_names_cannot_break_the_page():
    hostile = "a|b\n<img> *x* `y` $z$ [u](v) _w_ video_0001 \\"
    assert summary.escaped(hostile) == (r"a\|b \<img\> \*x\* \`y\` \$z\$ \[u\](v) \_w\_ video_0001 " + "\\\\")
    rows = [("clips", "all", "clips", "1"), *(("shared_videos", s, hostile, "1") for s in ("train", "all"))]
    page = summary.page(pd.DataFrame(rows, columns=summary.COLUMNS), "mine")
    assert f"| {summary.escaped(hostile)} | 1 | 1 |" in page.splitlines()


def test_the_same_input_gives_the_same_bytes(tmp_path):
    first = written(tmp_path)
    assert written(tmp_path) == first
    table = pd.read_csv(tmp_path / "summary.csv", dtype=str, keep_default_na=False)
    assert list(table) == summary.COLUMNS and set(table["split"]) == {"train", "valid", "test", "all"}
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "features.h5", "quarantine.csv", "summary.csv", "summary.md",
    ]  # fmt: skip
