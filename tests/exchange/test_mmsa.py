"""What is exported is what MMSA reads, and comes back by our own import."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from official_files import SHAPES, dump, made
from synthetic import write_features

from cmc.exchange import mmsa, official, pickles
from cmc.features import store


def contents(path):
    """The table of clips; modality -> values, offsets; token ids."""
    with store.Reader(path) as reader:
        found = {m: (reader.rows(m, 0, None), reader.offsets(m)) for m in reader.modalities}
        return reader.table("clips"), found


def back(tmp_path, features):
    """A feature file exported and imported."""
    mmsa.write(features, tmp_path / "mmsa.pkl")
    out = tmp_path / "back.h5"
    official.import_features(tmp_path / "mmsa.pkl", out, tmp_path / "q.csv", label_range=(-3, 3), max_share=0)
    return out


def check_same(one, other):
    (table, found), (other_table, other_found) = contents(one), contents(other)
    order = np.concatenate([np.flatnonzero(table["split"] == name) for name in ("train", "valid", "test")])
    pd.testing.assert_frame_equal(
        table.iloc[order].reset_index(drop=True), other_table[table.columns], check_dtype=False
    )
    for modality, (features, offsets) in found.items():
        others, other_offsets = other_found[modality]
        rows = np.concatenate([np.arange(*offsets[i : i + 2]) for i in order])
        np.testing.assert_array_equal(np.diff(offsets)[order], np.diff(other_offsets))
        expected = features.values.astype(official.DTYPES[modality])  # as extraction stores them, too
        np.testing.assert_array_equal(expected[rows], others.values)
        if modality == "text":
            np.testing.assert_array_equal(features.token_ids[rows], others.token_ids)


@pytest.mark.parametrize("unimodal", [True, False])
def test_what_is_exported_comes_back(tmp_path, unimodal):
    features = write_features(tmp_path / "f.h5", unimodal=unimodal, missing_frames=True)
    check_same(features, back(tmp_path, features))


def test_splits_need_not_be_in_order(tmp_path):
    splits = {"test": 3, "train": 5, "valid": 2}
    features = write_features(tmp_path / "f.h5", splits=splits, missing_frames=True)
    check_same(features, back(tmp_path, features))


@pytest.mark.parametrize("name", SHAPES)
def test_official_features_come_back(tmp_path, name):
    splits = made(SHAPES[name], clips=3, hidden=768, unimodal=name.startswith("ch"))
    splits["train"]["audio"][0, 0, 1] = -np.inf
    splits["train"]["audio_lengths"][0] = 7
    path, features = dump(tmp_path, splits), tmp_path / "f.h5"
    official.import_features(path, features, tmp_path / "q.csv", label_range=(-3, 3), max_share=0)
    check_same(features, back(tmp_path, features))


def test_labels_that_some_clips_lack(tmp_path):
    splits = made(clips=3, unimodal=True)
    splits["test"]["regression_labels_A"] = np.array([0.4, np.nan, -1])
    path, features = dump(tmp_path, splits), tmp_path / "f.h5"
    official.import_features(path, features, tmp_path / "q.csv", label_range=(-3, 3), max_share=0)
    check_same(features, back(tmp_path, features))


def exported(tmp_path, **options):
    """What a plain loader sees, without any warning."""
    features = write_features(tmp_path / "f.h5", missing_frames=True, **options)
    mmsa.write(features, tmp_path / "mmsa.pkl")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return pickle.loads((tmp_path / "mmsa.pkl").read_bytes()), contents(features)


@pytest.mark.parametrize("unimodal", [True, False])
def test_what_mmsa_reads(tmp_path, unimodal):
    data, (table, found) = exported(tmp_path, unimodal=unimodal)
    assert list(data) == ["train", "valid", "test"]
    longest = {modality: np.diff(offsets).max() for modality, (_, offsets) in found.items()}
    for name, split in data.items():
        clips = table[table["split"] == name]
        n = len(clips)
        assert split["id"] == clips["clip_id"].tolist() and split["raw_text"] == ["t"] * n
        for modality, width in {"text": 6, "audio": 5, "vision": 4}.items():
            array = split[modality]
            assert array.shape == (n, longest[modality], width) and array.dtype == np.float32
            assert array.flags.c_contiguous and array.flags.writeable and np.isfinite(array).all()
        bert = split["text_bert"]
        assert bert.shape == (n, 3, longest["text"]) and bert.dtype == np.float32
        text_lengths = bert[:, 1].sum(axis=1).astype(int)
        for modality, lengths in {"audio": split["audio_lengths"], "vision": split["vision_lengths"],
                                  "text": text_lengths.tolist()}.items():  # fmt: skip
            features, offsets = found[modality]
            assert lengths == np.diff(offsets)[clips.index].tolist() and type(lengths[0]) is int
            for row, place, length in zip(split[modality], clips.index, lengths, strict=True):
                own = np.nan_to_num(features.values[offsets[place] : offsets[place + 1]])
                np.testing.assert_array_equal(row[:length], own)
                assert not row[length:].any()
        for row, place in zip(bert, clips.index, strict=True):
            features, offsets = found["text"]
            ids = features.token_ids[offsets[place] : offsets[place + 1]]
            assert row[0, : len(ids)].tolist() == ids.tolist() and not row[0, len(ids) :].any()
            assert row[1].tolist() == [1] * len(ids) + [0] * (len(row[1]) - len(ids)) and not row[2].any()
        labels = clips["label"].tolist()
        assert (
            split["regression_labels"].dtype == np.float32 and split["regression_labels"].tolist() == labels
        )
        assert split["classification_labels"].tolist() == [int(label) + 1 for label in labels]
        names = {-1: "Negative", 0: "Neutral", 1: "Positive"}
        assert split["annotations"] == [names[label] for label in labels]
        for letter in "TAV":
            assert (f"regression_labels_{letter}" in split) == unimodal
            assert not unimodal or split[f"regression_labels_{letter}"].tolist() == labels


def test_frames_without_a_find_are_marked(tmp_path):
    data, (table, found) = exported(tmp_path)
    features, offsets = found["vision"]
    assert np.isnan(features.values).any()
    for name, split in data.items():
        assert not split["audio_missing"].any()
        for row, flags, place in zip(
            split["vision"], split["vision_missing"], table.index[table["split"] == name], strict=True
        ):
            expected = np.isnan(features.values[offsets[place] : offsets[place + 1], 0])
            np.testing.assert_array_equal(flags[: len(expected)], expected)
            assert not flags[len(expected) :].any() and not row[flags].any()


def test_flags_must_fit(tmp_path):
    features = write_features(tmp_path / "f.h5")
    mmsa.write(features, tmp_path / "mmsa.pkl")
    splits = pickle.loads((tmp_path / "mmsa.pkl").read_bytes())
    splits["valid"]["vision_missing"] = splits["valid"]["vision_missing"][:, 1:]
    path = dump(tmp_path, splits)
    with pytest.raises(
        official.OfficialError,
        match=r"split valid, key vision_missing: expected .*\(9, 11\).*found .*\(9, 10\)",
    ):
        official.import_features(
            path, tmp_path / "b.h5", tmp_path / "q.csv", label_range=(-3, 3), max_share=0
        )


def test_a_missing_modality_is_named(tmp_path):
    features = write_features(tmp_path / "f.h5", widths={"text": 6, "audio": 5})
    with pytest.raises(store.StoreError, match=r"f\.h5 has no vision; MMSA's layout needs all three"):
        mmsa.write(features, tmp_path / "mmsa.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_every_numpy_and_python_can_read_it(tmp_path):
    """No name that older ones lack, and nothing of a later protocol than 4."""
    features = write_features(tmp_path / "f.h5")
    mmsa.write(features, tmp_path / "mmsa.pkl")
    data = (tmp_path / "mmsa.pkl").read_bytes()
    assert b"numpy._core" not in data and data[:2] == b"\x80\x04"
    assert pickles.loads(memoryview(data), "f").keys() == {"train", "valid", "test"}


def test_same_input_same_bytes_and_little_memory(tmp_path):
    features = write_features(tmp_path / "f.h5", splits={"train": 400, "valid": 2, "test": 2},
                              widths={"text": 768, "audio": 33, "vision": 709})  # fmt: skip
    mmsa.write(features, tmp_path / "1.pkl")
    tracemalloc.start()
    mmsa.write(features, tmp_path / "2.pkl")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "1.pkl").read_bytes() == (tmp_path / "2.pkl").read_bytes()
    assert peak < (tmp_path / "2.pkl").stat().st_size / 10
