import collections
import logging
import os
import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from official_files import CLS, SEP, SHAPES, dump, made, mutated
from test_pickles import claimed

from cmc import MODALITIES, files
from cmc.corpus import quarantine
from cmc.exchange import official, pickles
from cmc.features import store, summary
from cmc.training import dataset


def run(tmp_path, splits, protocol=4, max_share=0.9, label_range=(-3, 3), **options):
    path = dump(tmp_path, splits, protocol)
    out, quarantine = tmp_path / "f.h5", tmp_path / "quarantine.csv"
    official.import_features(path, out, quarantine, label_range=label_range, max_share=max_share, **options)
    return out


def rows(path):
    """Clip -> modality -> Features, and the table of clips."""
    with store.Reader(path) as reader:
        table = reader.table("clips")
        offsets = {modality: reader.offsets(modality) for modality in reader.modalities}
        found = {
            clip: {m: reader.rows(m, at[i], at[i + 1]) for m, at in offsets.items()}
            for i, clip in enumerate(table["clip_id"])
        }
    return found, table


def refused(tmp_path):
    table = quarantine.read(tmp_path / "quarantine.csv")
    assert list(table) == ["clip_id", "stage", "reason"] and set(table["stage"]) <= {"import"}
    return dict(zip(table["clip_id"], table["reason"], strict=True))


def fails(tmp_path, splits, match, protocol=4):
    """The import stops with an error that names the file, and leaves nothing behind."""
    with pytest.raises(official.OfficialError, match=match) as caught:
        run(tmp_path, splits, protocol)
    assert "unaligned.pkl" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["unaligned.pkl"]


def check(path, splits):
    """The feature file holds what the splits hold."""
    found, table = rows(path)
    assert table["split"].tolist() == [
        name for name in ("train", "valid", "test") for _ in splits[name]["id"]
    ]
    for name, split in splits.items():
        part = table[table["split"] == name]
        assert part["label"].astype(np.float32).tolist() == np.asarray(split["regression_labels"]).tolist()
        assert part["text"].tolist() == list(split["raw_text"])
        for i, clip in enumerate(part["clip_id"]):
            tokens = int(split["text_bert"][i, 1].sum())
            lengths = {m: int(split[f"{m}_lengths"][i]) if f"{m}_lengths" in split else tokens
                       for m in ("audio", "vision")} | {"text": tokens}  # fmt: skip
            for modality, length in lengths.items():
                expected = np.asarray(split[modality][i], np.float64)[:length].astype(
                    official.DTYPES[modality]
                )
                np.testing.assert_array_equal(found[clip][modality].values, expected)
            np.testing.assert_array_equal(found[clip]["text"].token_ids, split["text_bert"][i, 0, :tokens])


# ---------------------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", SHAPES)
def test_every_data_set_comes_back(tmp_path, name, protocol):
    splits = made(SHAPES[name], clips=3, hidden=768, unimodal=name.startswith("ch"))
    path = run(tmp_path, splits, protocol)
    check(path, splits)
    assert refused(tmp_path) == {}
    with store.Reader(path) as reader:
        assert reader.modalities == ["text", "audio", "vision"]
        for modality, dtype in {"text": "float16", "audio": "float32", "vision": "float32"}.items():
            recipe = reader.recipe(modality)
            assert (recipe.extractor, recipe.rate, recipe.dtype) == ("official", None, dtype)
            assert recipe.columns[:2] == [f"{modality}_000", f"{modality}_001"]
            assert recipe.settings["file"] == "unaligned.pkl" and len(recipe.settings["sha256"]) == 64
            assert recipe.version == f"unknown file {recipe.settings['sha256'][:12]}"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", np.int64, object])
def test_number_types(tmp_path, dtype, protocol):
    splits = made(dtype=np.float32)
    for split in splits.values():
        for key in ("text", "text_bert", "audio", "vision"):
            split[key] = split[key].astype(dtype)
    check(run(tmp_path, splits, protocol), splits)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "change",
    [
        lambda s: s | {"id": np.array(s["id"])},
        lambda s: s | {"id": [clip.encode() for clip in s["id"]]},
        lambda s: s | {"id": np.array(s["id"]).astype("S"), "raw_text": np.array(s["raw_text"], object)},
        lambda s: s | {"id": [np.str_(clip) for clip in s["id"]]},
        lambda s: s | {"audio_lengths": np.array(s["audio_lengths"])},
        lambda s: s | {"audio_lengths": np.array(s["audio_lengths"], np.float32)[:, None]},
        lambda s: s | {"audio_lengths": [np.int64(n) for n in s["audio_lengths"]]},
        lambda s: s | {"regression_labels": list(s["regression_labels"])},
        lambda s: s | {"audio": np.asfortranarray(s["audio"]), "text": np.asfortranarray(s["text"])},
        lambda s: s | {"empty": [b"", np.zeros((0, 3)), (), {}, None, True, 1 << 70, 1.5]},
        collections.OrderedDict,
    ],
)  # fmt: skip
def test_containers(tmp_path, change, protocol):
    splits = made()
    path = run(tmp_path, {name: change(split) for name, split in splits.items()}, protocol)
    check(path, splits)


@pytest.mark.parametrize("protocol", [2, 3])
def test_files_of_older_numpy(tmp_path, protocol):
    splits = made()
    new = pickle.dumps(splits, protocol)
    old = new.replace(b"numpy._core", b"numpy.core")
    assert old != new
    check(run(tmp_path, old), splits)


@pytest.mark.parametrize(("protocol", "most"), [(2, 0.9), (4, 0.7)])
def test_memory(tmp_path, protocol, most):
    path = dump(tmp_path, made((50, (375, 5), (500, 20)), clips=60, hidden=768), protocol)  # 36 MB
    tracemalloc.start()
    try:
        official.import_features(
            path, tmp_path / "f.h5", tmp_path / "q.csv", label_range=(-3, 3), max_share=0
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * path.stat().st_size


def test_a_published_file_is_named(tmp_path, monkeypatch):
    path = dump(tmp_path, made())
    monkeypatch.setitem(official.PUBLISHED, files.sha256(path), "MOSI unaligned_50")
    assert official.version(path, files.sha256(path)) == "official MOSI unaligned_50"


def test_labels(tmp_path):
    splits = made(clips=3, unimodal=True)
    for split in splits.values():
        split["regression_labels"] = np.array([0.6, -0.2, 1], np.float32)
        split["regression_labels_A"] = np.array([0.4, np.nan, -1])
    _, table = rows(run(tmp_path, splits, label_range=(-1, 1)))
    assert table["label"].tolist() == [0.6, -0.2, 1.0] * 3  # the decimals, not their float32
    assert table["label_T"].tolist() == table["label_V"].tolist() == [0.2] * 9
    np.testing.assert_array_equal(table["label_A"], [0.4, np.nan, -1] * 3)
    _, table = rows(run(tmp_path, made()))
    assert table[["label_T", "label_A", "label_V"]].isna().all(axis=None)
    assert table["video_id"].tolist() == ["v0"] * 2 + ["v1"] * 2 + ["v2"] * 2


def test_training_code_reads_it(tmp_path):
    split = dataset.load(run(tmp_path, made()), "test", "cpu", mask_padding=True)
    assert (
        list(split.features) == ["text", "audio", "vision"]
        and split.clips["clip_id"].tolist()[0] == "v2$_$0000"
    )


def test_a_modality_may_be_left_out_or_lacking(tmp_path):
    splits = made()
    for split in splits.values():
        del split["vision"]
    run(tmp_path, splits, modalities=("text", "audio"))
    assert list(dataset.load(tmp_path / "f.h5", "train").widths) == ["text", "audio"]
    run(tmp_path, made(), modalities=("text", "vision"))
    assert list(dataset.load(tmp_path / "f.h5", "train").widths) == ["text", "vision"]


def test_aligned_files_have_the_length_of_the_text(tmp_path):
    splits = made((6, (6, 2), (6, 3)))
    for split in splits.values():
        del split["audio_lengths"], split["vision_lengths"]
    check(run(tmp_path, splits), splits)


def test_other_splits_are_skipped(tmp_path, caplog):
    splits = made()
    with caplog.at_level(logging.INFO):
        path = run(tmp_path, splits | {"train_mix": splits["train"]})
    check(path, splits)
    assert "split train_mix is skipped" in caplog.text


def test_same_input_same_bytes(tmp_path):
    first = run(tmp_path, made()).read_bytes()
    assert run(tmp_path, made()).read_bytes() == first


# ---------------------------------------------------------------------------------------------- dirt


def test_frames_that_are_not_finite_are_missing(tmp_path, caplog):
    splits = made(clips=3)
    train = splits["train"]
    train["audio_lengths"], train["vision_lengths"] = [5, 5, 3], [4, 4, 4]
    train["audio"][0, 1, 0], train["audio"][0, 3, 1] = -np.inf, np.nan
    train["audio"][2, 4, 0] = np.inf  # behind the end
    train["vision"] = train["vision"].astype(np.float64)
    train["vision"][1, 2, 2] = 1e300  # no float32
    found, _ = rows(run(tmp_path, splits))
    audio, vision = found["v0$_$0000"]["audio"].values, found["v0$_$0001"]["vision"].values
    assert np.isnan(audio[[1, 3]]).all() and np.isfinite(audio[[0, 2, 4]]).all()
    assert np.isnan(vision[2]).all() and np.isfinite(vision[[0, 1, 3]]).all()
    np.testing.assert_array_equal(audio[0], train["audio"][0, 0])
    assert "train: 2 of 13 audio frames count as missing" in caplog.text
    assert "train: 1 of 12 vision frames" in caplog.text
    assert refused(tmp_path) == {}


def key(name, value, at=1):
    """A change of one entry of the training split."""

    def change(split):
        split[name] = np.array(split[name]) if name.endswith("labels") else split[name]
        split[name][at] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (key("audio", np.nan), "audio holds no frame of finite values"),
        (key("vision", -np.inf), "vision holds no frame of finite values"),
        (key("text", np.inf), "hidden state that is not finite"),
        (key("text", 7e4), "does not fit float16"),
        (key("audio_lengths", 0), "audio has no frame"),
        (key("vision_lengths", 0), "vision has no frame"),
        (key("audio_lengths", 6), "audio has the length 6, but its array ends after 5"),
        (key("audio_lengths", -1), "audio has the length -1"),
        (key("audio_lengths", 2.5), "audio has the length 2.5"),
        (key("audio_lengths", np.nan), "audio has the length nan"),
        (key("audio_lengths", np.inf), "audio has the length inf"),
        (key("text_bert", 0), "text has no token"),
        (key("text_bert", [[5] * 6, [1, 0, 1, 0, 0, 0], [0] * 6]), "mask is not ones followed by zeros"),
        (key("text_bert", [[-5] * 6, [1] * 6, [0] * 6]), "no whole numbers"),
        (key("text_bert", [[5.5] * 6, [1] * 6, [0] * 6]), "no whole numbers"),
        (key("text_bert", [[1e12] * 6, [1] * 6, [0] * 6]), "no whole numbers"),
        (key("text_bert", np.nan), "mask is not ones"),
        (key("regression_labels", np.nan), r"regression_labels nan is outside \[-3, 3\]"),
        (key("regression_labels", 3.5), r"regression_labels 3.5 is outside \[-3, 3\]"),
        (key("raw_text", "a\0b"), "NUL"),
    ],
)
def test_clips_that_cannot_be_used_are_listed(tmp_path, change, reason):
    splits = made()
    change(splits["train"])
    found, table = rows(run(tmp_path, splits))
    assert "v0$_$0001" not in found and len(found) == len(table) == 5
    [(clip, why)] = refused(tmp_path).items()
    assert clip == "v0$_$0001"
    assert pd.Series([why]).str.contains(reason).all(), why


@pytest.mark.parametrize(
    ("clip", "listed", "reason"),
    [
        ("v0$_$0000", "v0$_$0000", "duplicate id; the first, in train, is kept"),
        ("v0_0001", "v0_0001", r"no \$_\$"),
        ("../v$_$1", "../v$_$1", "no plain file name"),
        ("v$_$", "v$_$", "no plain file name"),
        (b"\xff$_$1", r"\xff$_$1", "no plain file name"),
        (5, "5", r"no \$_\$"),
    ],
)
def test_ids_that_cannot_be_used_are_listed(tmp_path, clip, listed, reason):
    splits = made()
    splits["valid"]["id"][1] = clip
    found, _ = rows(run(tmp_path, splits))
    assert len(found) == 5
    [(name, why)] = refused(tmp_path).items()
    assert name == listed and pd.Series([why]).str.contains(reason).all(), why


def test_unimodal_labels_must_be_in_range(tmp_path):
    splits = made(unimodal=True)
    splits["test"]["regression_labels_V"][0] = -np.inf
    run(tmp_path, splits)
    assert refused(tmp_path) == {"v2$_$0000": "regression_labels_V -inf is outside [-3, 3]"}


def test_objects_that_are_no_numbers(tmp_path):
    splits = made()
    splits["train"]["audio"] = splits["train"]["audio"].astype(object)
    splits["train"]["audio"][1, 0, 0] = "loud"
    run(tmp_path, splits)
    assert refused(tmp_path) == {"v0$_$0001": "audio holds something other than numbers"}


def test_too_much_quarantine_stops(tmp_path):
    splits = made()
    key("audio_lengths", 0)(splits["train"])
    with pytest.raises(
        quarantine.QuarantineError, match=r"(?s)1 of 6 clips.*1 audio has no frame.*max_share"
    ):
        run(tmp_path, splits, max_share=0.1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["quarantine.csv", "unaligned.pkl"]
    assert refused(tmp_path) == {"v0$_$0001": "audio has no frame"}
    run(tmp_path, splits, max_share=1 / 6)


def test_an_empty_split_stops(tmp_path):
    splits = made()
    splits["valid"]["vision_lengths"] = [0, 0]
    with pytest.raises(quarantine.QuarantineError, match="no usable clip in split valid"):
        run(tmp_path, splits, max_share=1)
    assert not (tmp_path / "f.h5").exists()


def test_token_ids_of_the_encoder_raise_no_doubt(tmp_path, caplog):
    splits = made()
    largest = max(int(split["text_bert"][:, 0].max()) for split in splits.values())
    facts = {"encoder": "bert", "width": 3, "vocabulary": largest + 1, "cls": CLS, "sep": SEP}
    for encoder in (facts, facts | {"cls": None, "sep": None}, None):
        with store.Reader(run(tmp_path, splits, encoder=encoder)) as reader:
            assert "doubt" not in reader.recipe("text").settings
    assert "token ids" not in caplog.text


def test_token_ids_of_another_encoder_raise_doubt(tmp_path, caplog):
    splits = made()
    largest = int(splits["train"]["text_bert"][1, 0].max())
    for split in splits.values():
        split["text_bert"][:, 0] = np.minimum(split["text_bert"][:, 0], 900)
    splits["train"]["text_bert"][1, 0, 1] = largest
    splits["test"]["text_bert"][0, 0, 0] = 7
    facts = {"encoder": "bert", "width": 4, "vocabulary": largest, "cls": CLS, "sep": 3}
    with store.Reader(run(tmp_path, splits, encoder=facts)) as reader:
        doubt = reader.recipe("text").settings["doubt"]
        told = summary.summarise(reader, quarantine.read(tmp_path / "quarantine.csv"))
        assert told.loc[told["name"] == "text doubt", "value"].tolist() == [doubt]
    assert doubt == (
        "Were the token ids made with the text encoder bert? 6 of 6 clips have hidden states of other than its 4 "
        "dimensions (v0$_$0000: 3); 6 of 6 clips don't end with its [SEP], 3 "
        f"(v0$_$0000: 102); 1 of 6 clips hold ids beyond its vocabulary of {largest} (v0$_$0001: {largest}); "
        "1 of 6 clips don't begin with its [CLS], 101 (v2$_$0000: 7)."
    )
    assert doubt in caplog.text


@pytest.mark.parametrize(
    ("facts", "told"),
    [({"width": 4}, "other than its 4 dimensions"), ({"vocabulary": 90}, "beyond its vocabulary of 90")],
)
def test_an_encoder_that_is_to_be_finetuned_must_be_the_one_of_the_file(tmp_path, facts, told):
    """Else stage 2 finds it out, hours later."""
    encoder = {"encoder": "bert", "width": 3, "vocabulary": 10**6, "cls": CLS, "sep": SEP} | facts
    with pytest.raises(official.OfficialError, match=told) as caught:
        run(tmp_path, made(), encoder=encoder, trained_by=["cmc", "no_mcr"])
    assert "by cmc, no_mcr" in str(caught.value) and "train_text_encoder" in str(caught.value)
    run(tmp_path, made(), encoder=encoder, trained_by=[])


def test_special_tokens_alone_stop_nothing(tmp_path):
    encoder = {"encoder": "bert", "width": 3, "vocabulary": 10**6, "cls": CLS, "sep": 3}
    run(tmp_path, made(), encoder=encoder, trained_by=["cmc"])


def drop(*names):
    return lambda split: [split.pop(name) for name in names]


def replace(**values):
    return lambda split: split.update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("audio"), "split valid, key audio: expected it to be there, found the keys raw_text, id"),
        (drop("regression_labels"), "split valid, key regression_labels"),
        (drop("text"), "text_bert is there but not text. Hidden states are needed"),
        (drop("text", "text_bert"), "key text: expected it to be there"),
        (drop("audio_lengths"), "audio_lengths: expected it to be there, as audio has 5 frames, text 6"),
        (replace(id=["v$_$1"]), "raw_text: expected 1 entries, as id has, found 2"),
        (replace(id="v$_$1"), "id: expected a list or one-dimensional array, found a str"),
        (replace(id=[["v", 1], ["v", 2]]), "id: expected plain values, found a list"),
        (replace(audio=np.zeros((3, 5, 2))), "audio: expected 2 clips, as id has, found 3"),
        (replace(audio=np.zeros((2, 5))), "audio: expected a three-dimensional array"),
        (replace(audio=[[[0.0]]] * 2), "audio: expected a three-dimensional array, found a list"),
        (replace(audio=np.zeros((2, 5, 0))), "audio: expected numbers, at least one"),
        (replace(audio=np.zeros((2, 5, 7))), "audio: expected 2 dimensions, as in train, found 7"),
        (replace(audio=np.full((2, 5, 2), "x")), "audio: expected numbers"),
        (replace(audio=np.full((2, 5, 2), 1j)), "audio: dtype <c16 is none of numbers"),
        (replace(audio=np.array([[1], "a"], object)), "audio: an object array holds a list; expected text"),
        (replace(text_bert=np.zeros((2, 3, 7))), r"text_bert: expected shape \(2, 3, 6\)"),
        (replace(text_bert=np.zeros((2, 1, 6))), r"text_bert: expected shape \(2, 3, 6\)"),
        (replace(regression_labels=["a", "b"]), "regression_labels: expected numbers"),
        (replace(regression_labels=[None, 1]), "regression_labels: expected numbers"),
        (replace(vision_lengths=[1]), "vision_lengths: expected 2 entries, as id has, found 1"),
        (replace(vision_lengths=7), "vision_lengths: expected a list"),
    ],
)
def test_splits_that_cannot_be_used_stop(tmp_path, change, message):
    splits = made()
    change(splits["valid"])
    fails(tmp_path, splits, message)


def test_files_that_are_none_of_these_stop(tmp_path):
    splits = made()
    fails(tmp_path, {"train": splits["train"]}, "lacks the split valid, test; found train")
    fails(tmp_path, splits | {"test": [1]}, "split test: expected a dict, found a list")
    fails(tmp_path, [splits], "expected a dict of splits, found a list")
    fails(tmp_path, splits, "no pickle of protocol 2 to 5", protocol=0)
    fails(tmp_path, b"<!DOCTYPE html>", "begins with b'<!DOCTYPE html>'.*web page")
    fails(tmp_path, b"", "is empty")
    fails(tmp_path, b"\x80", "no pickle of protocol")
    fails(tmp_path, b"\x80\x09.", "no pickle of protocol")


def test_paths_that_are_no_file_stop(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "missing.pkl", tmp_path / "pipe"):
        with pytest.raises(official.OfficialError, match=f"{path} is no file"):
            official.import_features(
                path, tmp_path / "f.h5", tmp_path / "q.csv", label_range=(-1, 1), max_share=1
            )


def test_an_error_keeps_what_was_there(tmp_path):
    run(tmp_path, made())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.suffix != ".pkl"}
    with pytest.raises(official.OfficialError):
        run(tmp_path, {"train": made()["train"]})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.suffix != ".pkl"} == before


# ---------------------------------------------------------------------------------------------- damaged files


def attempt(tmp_path, data):
    """Whether mutated data import; only the two announced errors may come."""
    try:
        run(tmp_path, data, max_share=1)
        return True
    except (official.OfficialError, quarantine.QuarantineError):
        return False


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_cut_files_are_damaged(tmp_path, protocol):
    data = pickle.dumps(made(), protocol)
    for length in range(2, len(data), 11):
        with pytest.raises(official.OfficialError, match=r"is damaged.*obtain it again"):
            run(tmp_path, data[:length])
    assert [p.name for p in tmp_path.iterdir()] == ["unaligned.pkl"]


class Attack:
    """Pickles as a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_hostile_files_are_refused(tmp_path):
    marker = tmp_path / "marker"
    splits = made()
    splits["test"]["audio"] = splits["test"]["audio"].astype(object)
    splits["test"]["audio"][1, 2, 0] = Attack(f"touch {marker}")
    fails(tmp_path, splits, r"refused: at byte \d+ it names \w+.system.*it could run code.*obtain it again")


def test_false_claims_name_split_and_key(tmp_path):
    splits = made()
    splits["train"]["audio"] = claimed((2, 10**9, 33))
    fails(
        tmp_path, splits, r"split train, key audio: an array of shape .* needs 264000000000 bytes.*, found 0"
    )
    splits["train"]["audio"] = claimed((10**12,))
    fails(tmp_path, splits, r"split train, key audio: an array claims the shape .*obtain it again")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_mutated_files_import_or_are_refused(tmp_path, protocol):
    rng = np.random.default_rng(protocol)
    marker = tmp_path.parent / f"{tmp_path.name}.marker"
    valid, attack = (
        pickle.dumps(made(unimodal=True), protocol),
        pickle.dumps(Attack(f"touch {marker}"), 2)[2:-1],
    )
    fates = collections.Counter(attempt(tmp_path, mutated(valid, rng, attack)) for _ in range(150))
    assert fates[True] > 5 and fates[False] > 5, fates
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_mutated_structure(protocol):
    """As above without writing, so that every second byte can have its turn."""
    rng = np.random.default_rng(protocol)
    valid = pickle.dumps(made(clips=1, unimodal=True), protocol)
    fates = collections.Counter()
    for at in range(2, len(valid), 2):
        data = bytearray(valid)
        data[at] = rng.integers(256)
        try:
            splits = pickles.loads(memoryview(data), "f")
            official.check_splits("f", splits)
            for name in ("train", "valid", "test"):
                split = official.Split("f", name, splits[name], MODALITIES)
                for i in range(len(split.ids)):
                    split.clip(i, (-3, 3)), split.features(i)
            fates[True] += 1
        except (official.OfficialError, official.Unusable, pickles.PickleError):
            fates[False] += 1
    assert fates[True] > 5 and fates[False] > 5, fates


def test_a_text_that_all_clips_share_is_not_copied_for_each(tmp_path):
    """2 bytes of the file refer to it; 200 copies would take 200 MB."""
    splits = made(clips=200)
    splits["train"]["raw_text"] = ["a" * 10**6] * 200
    fails(
        tmp_path, splits, r"split train, key raw_text: expected at most 67108864 characters.*found 200000000"
    )


def test_an_id_with_a_line_break_stays_one_row(tmp_path):
    splits = made(clips=3)
    splits["test"]["id"][0], splits["test"]["id"][1] = "v2$_$a\rb", "v" * 2000
    run(tmp_path, splits)
    listed = quarantine.read(tmp_path / "quarantine.csv")
    assert sorted(map(len, listed["clip_id"])) == [9, 603] and (listed["stage"] == "import").all()
