"""docs/features.md: its columns are the extractors', its settings too, and its example of a new one works."""

import re
import shutil

import pytest
import yaml
from small_run import MINE, ONE_EPOCH, ROOT, planned, snakemake
from tiny_models import speech_encoder, text_encoder

from cmc.features import extractors, store

PAGE = (ROOT / "docs/features.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SECTIONS = dict(re.findall(r"^## \w+: `(\w+)`\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE))


def tables(text, heading):
    """The first cells of each table with such a heading."""
    return [
        [line.split("|")[1].strip() for line in table.splitlines()[2:]]
        for table in re.findall(rf"(^\| {heading} \|.*?)(?=^$|\Z)", text, re.DOTALL | re.MULTILINE)
    ]


def unfolded(cells, columns):
    """The columns that cells name: `one`, or `first` to `last` as the extractor has them between."""
    found = []
    for cell in cells:
        for first, last in re.findall(r"`([^`]+)`(?: to `([^`]+)`)?", cell):
            found += columns[columns.index(first) : columns.index(last or first) + 1]
    return found


@pytest.mark.parametrize(
    ("modality", "name", "place", "settings"),
    [
        ("audio", "chsims33", 0, {}),
        ("audio", "egemaps25", 0, {}),
        ("vision", "mediapipe", 0, {}),
        ("vision", "openface", 0, {"columns": "openface709"}),
        ("vision", "openface", 1, {"columns": "openface177"}),
    ],
)
def test_every_column_is_listed_in_order(modality, name, place, settings):
    if name == "egemaps25":
        pytest.importorskip("opensmile", reason="an optional extra")
    columns = extractors.make(modality, name, **settings).columns
    assert unfolded(tables(SECTIONS[name], "columns")[place], columns) == list(columns)


def test_encoders_have_the_columns_that_are_listed(tmp_path):
    for modality, name, folder in (
        ("text", "hugging_face", text_encoder("bert", tmp_path / "text")),
        ("audio", "hugging_face_speech", speech_encoder("wavlm", tmp_path / "speech")),
    ):
        columns = extractors.make(modality, name, encoder=str(folder)).columns
        assert tables(SECTIONS[name], "columns") == [["`hidden_0000` to `hidden_0767`"]]
        assert columns[0] == "hidden_0000" and columns[-1] == f"hidden_{len(columns) - 1:04d}"


def test_every_extractor_and_every_setting_is_listed():
    assert set(SECTIONS) == {name for names in extractors.EXTRACTORS.values() for name in names}
    for name, text in SECTIONS.items():
        cells = [cell for table in tables(text, "setting") for cell in table]
        assert {cell.strip("`") for cell in cells} == set(extractors.declared(name, "SETTINGS")), name


def test_the_configs_are_valid(tmp_path):
    (tmp_path / "mine.yaml").write_text(next(text for kind, text in BLOCKS if kind == "yaml"))
    output = snakemake(
        tmp_path,
        "-n",
        "results/interviews/table.csv",
        "--configfile",
        str(tmp_path / "mine.yaml"),
        check=False,
    )
    assert "The data set interviews can't be run:" in output  # for lack of the data, no more
    assert "its audio encoder (features.audio)" in output and "/models/wavlm-base-plus" in output
    assert "the files that openface reads" in output


def test_the_example_of_a_new_extractor(demo, tmp_path, monkeypatch):
    folder, _ = demo
    code = [text for kind, text in BLOCKS if kind == "python"]
    [file], [line] = ([text for text in code if ("class" in text) == whole] for whole in (True, False))
    chosen = yaml.safe_load([text for kind, text in BLOCKS if kind == "yaml"][-1])
    registry = folder / "project/cmc/features/extractors/__init__.py"
    before = registry.read_text()
    try:
        (folder / "project/cmc/features/extractors/loudness.py").write_text(file)
        registry.write_text(before.replace('    "audio": {\n', '    "audio": {\n' + line))
        monkeypatch.chdir(tmp_path)  # out of this repository, so that the copy is imported
        monkeypatch.setenv("PYTHONPATH", str(folder / "project"))
        assert planned(folder, config=ONE_EPOCH) == {}  # nothing of another extractor is done again
        shutil.copytree(folder / "project", tmp_path / "project")
    finally:
        registry.write_text(before)
        (folder / "project/cmc/features/extractors/loudness.py").unlink()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "project"))
    root = tmp_path / "corpus"
    shutil.copytree(folder / "results/demo/corpus", root)
    own = {"vision": {"extractor": "none"}}
    config = ONE_EPOCH | chosen | {"datasets": {"mine": MINE | {"root": str(root), "features": own}}}
    snakemake(tmp_path, "results/mine/features.h5", config=config)
    with store.Reader(tmp_path / "results/mine/features.h5") as reader:
        recipe = reader.recipe("audio")
        rows = reader.rows("audio", 0, 40)
    assert (recipe.extractor, recipe.columns, recipe.rate) == ("loudness", ["rms_db"], 20)
    assert rows.values.std() > 1 and rows.times[0] == 0.025
    config["features"] = {"audio": {"extractor": "loudness", "loudness": {"windows": 1}}}
    output = snakemake(tmp_path, "-n", "results/mine/features.h5", config=config, check=False)
    assert "('windows' was unexpected); there are window" in output
