"""Whole-model files from strangers."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from cmc.exchange import published

GOOD = Path(__file__).parents[1] / "golden" / "checkpoints" / "SIMS_Pseudo_AudioModel.pt"


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def saved(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(content, protocol=2))
    return path


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {marker}",), r"posix\.system"),
        (eval, ("open('{marker}', 'w')",), r"__builtin__\.eval"),
        (getattr, (os, "system"), r"__builtin__\.getattr"),
        (open, ("{marker}", "w"), r"(io|_io)\.open"),
    ],
)
def test_calls_are_refused_by_name(tmp_path, function, arguments, name):
    marker = tmp_path / "marker"
    arguments = tuple(a.format(marker=marker) if isinstance(a, str) else 0 for a in arguments)
    for content in (Call(function, *arguments), {"_modules": [Call(function, *arguments)]}):
        with pytest.raises(published.PublishedError, match=name):
            published.load(saved(tmp_path / "bad.pt", content))
    assert not marker.exists()


def test_a_class_below_torch_is_no_way_in(tmp_path):
    """torch.nn.modules.container.os would be the os module, if names were really looked up."""
    code = b"\x80\x02ctorch.nn.modules.module\nos.system\n(X\x04\x00\x00\x00exittR."
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("m/data.pkl", code)
    with pytest.raises(published.PublishedError, match="no model of CMC"):
        published.load(tmp_path / "bad.pt")


@pytest.mark.parametrize("content", [{}, [1, 2], "text", None])
def test_what_is_no_model_is_refused(tmp_path, content):
    with pytest.raises(published.PublishedError, match="no model"):
        published.load(saved(tmp_path / "bad.pt", content))


def state_dict_of(whole, path):
    """A whole model's weights as `torch.save(model.state_dict())` writes them."""
    torch.save(OrderedDict(published.state_of(published.read(whole))), path)
    return path


@pytest.mark.parametrize("name", ["AudioModel", "TextModel"])
def test_a_state_dict_gives_the_same_model(tmp_path, name):
    whole = published.load(GOOD.with_name(f"SIMS_Pseudo_{name}.pt"))
    path = state_dict_of(GOOD.with_name(f"SIMS_Pseudo_{name}.pt"), tmp_path / "state.pt")
    heads = whole.model.encoder.blocks[0].attention.heads
    empty = None if whole.bert is None else type(whole.bert)(whole.bert.config, add_pooling_layer=False)
    plain = published.load(path, heads=heads, bert=empty)
    assert plain.modality == whole.modality
    for ours, theirs in ((plain.model, whole.model), (plain.bert, whole.bert)):
        if theirs is not None:
            torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_a_state_dict_says_what_it_needs(tmp_path):
    path = state_dict_of(GOOD.with_name("SIMS_Pseudo_TextModel.pt"), tmp_path / "state.pt")
    with pytest.raises(ValueError, match="give heads"):
        published.load(path)
    with pytest.raises(ValueError, match="as bert"):
        published.load(path, heads=2)
    torch.save({"something.else": torch.ones(2)}, path)
    with pytest.raises(published.PublishedError, match="no model of CMC"):
        published.load(path, heads=2)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "bad.pt").write_bytes(b"nonsense")
    with pytest.raises(published.PublishedError, match="can't be read"):
        published.load(tmp_path / "bad.pt")


def test_mutated_files_end_in_an_error_or_a_model(tmp_path):
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(GOOD) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    root = next(name for name in entries if name.endswith("/data.pkl"))
    refused = 0
    for _ in range(60):
        code = bytearray(entries[root])
        for place in rng.integers(0, len(code), 3):
            code[place] = rng.integers(0, 256)
        with zipfile.ZipFile(tmp_path / "mutated.pt", "w") as archive:
            for name, data in (entries | {root: bytes(code)}).items():
                archive.writestr(name, data)
        try:
            assert isinstance(published.load(tmp_path / "mutated.pt"), published.Published)
        except published.PublishedError:
            refused += 1
    assert refused
