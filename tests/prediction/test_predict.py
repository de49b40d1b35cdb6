"""A trained model on clips of one's own: by target, command and Python, whole and in windows, good and bad."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from tiny_models import whisper

import cmc
from cmc import cli
from cmc.features import media
from cmc.features.contract import Unusable
from cmc.labels import CLASSES
from cmc.prediction import export, extraction
from cmc.prediction.bundle import ModelError

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model(trained):
    return cmc.load(trained / "results/demo/model", device="cpu")


@pytest.fixture(scope="module")
def rows(trained, model):
    return model.predict(trained / "own")


def clip_of(folder, number=0):
    return sorted((folder / "results/demo/corpus/Raw").glob("*/*.mp4"))[number]


def command(capsys, *arguments):
    status = cli.main(["predict", *map(str, arguments)])
    return status, *capsys.readouterr()


# ------------------------------------------------------------------------------------------ three ways, one answer


def test_target_command_and_python_give_the_same_rows(trained, model, rows, tmp_path, capsys):
    made = (trained / "results/demo/predictions/own.csv").read_text()
    status, said, _ = command(capsys, trained / "own", "--model", trained / "results/demo/model")
    assert status == 2 and said == made
    table = pd.read_csv(trained / "results/demo/predictions/own.csv", keep_default_na=False, na_values=[""])
    assert table["clip"].tolist() == rows["clip"].tolist() == ["a.mp4", "b.mp4", "c.mp4"]
    numbers = rows.select_dtypes("number").columns
    np.testing.assert_allclose(table[numbers], rows[numbers], atol=1e-6)
    assert table["class"].tolist() == rows["class"].tolist()
    assert list(table) == list(rows) == model.columns


def test_a_clip_reads_as_it_did_in_the_pipeline(trained, model):
    results = cmc.open(trained / "results/demo")
    test = results.clips[results.clips["split"] == "test"]
    listed = pd.DataFrame(
        {"path": "Raw/" + test["clip_id"].str.replace("$_$", "/") + ".mp4", "text": test["text"]}
    )
    listed.to_csv(trained / "results/demo/corpus/test.csv", index=False)
    from_videos = model.predict(trained / "results/demo/corpus/test.csv")
    from_features = model.read_features(trained / "results/demo/features.h5")
    numbers = from_features.select_dtypes("number").columns
    # text is encoded in other batches, which rounds otherwise; sound and pictures are the same to the bit
    np.testing.assert_allclose(from_videos[numbers], from_features[numbers], atol=1e-3)
    np.testing.assert_allclose(from_videos["audio_positive"], from_features["audio_positive"], atol=1e-9)

    predictions = results.predictions
    temperatures = model.facts["temperatures"]
    wanted = [
        softmax(
            predictions.loc[
                predictions["seed"] == int(run.removeprefix("seed")), [f"logits_{c}" for c in CLASSES]
            ].to_numpy()
            / own["consensus"],
            axis=1,
        )
        for run, own in temperatures.items()
    ]
    np.testing.assert_allclose(from_features[list(CLASSES)], np.mean(wanted, axis=0), atol=1e-6)
    np.testing.assert_allclose(
        from_features[[f"spread_{c}" for c in CLASSES]], np.std(wanted, axis=0, ddof=1), atol=1e-6
    )


def test_a_row_tells_everything(rows):
    first, second = rows.iloc[0], rows.iloc[1]
    assert first[list(CLASSES)].sum() == pytest.approx(1)
    assert first["class"] == max(CLASSES, key=lambda name: first[name])
    assert first[["router_text", "router_audio", "router_vision"]].sum() == pytest.approx(1)
    readings = {m: first[f"{m}_class"] for m in cmc.MODALITIES}
    assert first["consistent"] == (len(set(readings.values())) == 1)
    assert first["dissents"].split() == [m for m, said in readings.items() if said != first["class"]]
    assert first["missing"] == "" and first["transcript"] == "I like it very much." and first["tokens"] > 4
    assert 0 < first["voiced"] < 1 and first["faces"] > 0.9 and 2 < first["end"] < 4.1
    assert "mediapipe 0." in first["features"] and first["model"] == "demo/cmc"
    assert second["missing"] == "text: no transcript" and np.isnan(second["text_positive"])
    assert second[["router_audio", "router_vision"]].sum() == pytest.approx(1)


def test_rows_do_not_depend_on_company_or_jobs(trained, model, rows):
    alone = model.predict(trained / "own/b.mp4", jobs=1)
    numbers = rows.select_dtypes("number").columns
    np.testing.assert_allclose(
        alone.loc[0, numbers].astype(float), rows.loc[1, numbers].astype(float), atol=1e-5
    )


# ------------------------------------------------------------------------------------------ windows


def test_windows_of_a_recording(trained, model, monkeypatch):
    clip = clip_of(trained)
    whole = model.predict(clip, window=1.0, hop=0.5)
    length = media.duration(clip)
    regular = int((length - 1) / 0.5 + 1e-6) + 1
    assert whole["start"].tolist()[:regular] == [0.5 * i for i in range(regular)]
    assert (
        np.allclose(whole["end"] - whole["start"], 1) and length - 0.1 <= whole["end"].max() <= length + 1e-6
    )
    monkeypatch.setattr(extraction, "BLOCK", 1.0)
    pieces = model.predict(clip, window=1.0, hop=0.5)
    assert pieces["start"].tolist() == whole["start"].tolist()
    # chroma and MFCC know the loudest and the tuning of their own block
    assert np.abs(pieces["vision_positive"] - whole["vision_positive"]).max() < 1e-5
    assert np.abs(pieces["positive"] - whole["positive"]).max() < 0.2


def test_memory_is_that_of_a_block(trained):
    request = extraction.Request("talk", "talk.mp4")
    units = list(extraction.blocks(request, 7200.0, 4.0, 1.0, None))
    assert sum(len(unit.windows) for unit in units) == 7197
    assert max(unit.source.end - unit.source.start for unit in units) <= extraction.BLOCK + 4


@pytest.mark.parametrize(
    ("length", "windows"),
    [
        (3.0, [(0, 1), (1, 2), (2, 3)]),
        (3.05, [(0, 1), (1, 2), (2, 3)]),
        (2.6, [(0, 1), (1, 2), (1.6, 2.6)]),
        (0.6, [(0, 0.6)]),
    ],
)
def test_what_is_left_at_the_end_is_read(monkeypatch, length, windows):
    for block in (60.0, 1.0):
        monkeypatch.setattr(extraction, "BLOCK", block)
        units = extraction.blocks(extraction.Request("talk", "talk.mp4"), length, 1.0, 1.0, None)
        np.testing.assert_allclose([one for unit in units for one in unit.windows], windows)


def test_windows_of_a_recording_that_is_transcribed(trained, model, tmp_path):
    found = model.predict(clip_of(trained), window=1.0, hop=0.5, transcribe=str(whisper(tmp_path / "w")))
    assert len(found) > 2 and found["transcript"].str.isalpha().all() and (found["missing"] == "").all()
    whole = model.predict(clip_of(trained), transcribe=str(tmp_path / "w"))
    assert whole["text_positive"].notna().all() and whole["transcript"][0].replace(" ", "").isalpha()
    given = model.predict(clip_of(trained), "I like it.", transcribe=str(tmp_path / "w"))
    assert given["transcript"][0] == "I like it."


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--hop", "1"], "there is no window"),
        (["--window", "0"], "window is 0 s"),
        (["--window", "1", "--hop", "2"], "expected 0 < hop <= window"),
        (["--window", "inf"], "expected 0 < hop <= window"),
        (["--jobs", "-3"], "jobs is -3: expected 1 or more"),
        (["--jobs", "0"], "jobs is 0: expected 1 or more"),
        (["--device", "gpu"], "device is 'gpu': expected auto, cpu, cuda or cuda:N"),
        (["--out", "rows.xlsx"], "a name that ends in .csv, .jsonl, .ndjson, or say its --format"),
        (["--out", "rows.csv", "--format", "table"], "a file of this name holds csv, not --format table"),
        (["--out", "rows.csv", "--format", "jsonl"], "a file of this name holds csv, not --format jsonl"),
        (["--out", "/dev/null", "--format", "csv"], "is a device"),
        (["--window", "1", "--text", "Hello."], "a transcript without times can't be cut into windows"),
        (["--overlay", "out.avi"], "--overlay takes one clip and a name that ends in .mp4"),
        (["--transcribe", "nobody/nothing"], "hf download openai/whisper-small"),
    ],
)
def test_mistakes_of_the_command_line(trained, capsys, options, told):
    status, said, error = command(
        capsys, clip_of(trained), "--model", trained / "results/demo/model", *options
    )
    header = "a transcript without times" in told  # which is a clip's mistake, not the command line's
    assert status == 2 and said.count("\n") == header and told in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--overlay", "own.mp4"], "--overlay own.mp4 would be written over what is read"),
        (["--out", "own.mp4"], "--out own.mp4 would be written over what is read"),
        (["--out", "own.csv"], "--out own.csv would be written over what is read"),
        (["--out", "own.txt", "--format", "csv"], "--out own.txt would be written over what is read"),
        (["--out", "model/config.json", "--format", "jsonl"], "would be written over what is read (model)"),
        (["--out", "model"], "--out model is a folder"),
        (["--overlay", "own.csv/seen.mp4"], "own.csv is no folder"),
        (["--overlay", "a.mp4", "--out", "a.mp4", "--format", "csv"], "are the same file, a.mp4"),
    ],
)
def test_nothing_that_is_read_is_written_over(tmp_path, monkeypatch, capsys, options, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "own.csv").write_text("path\nown.mp4\n")
    for name in ("own.mp4", "own.txt", "model/config.json"):
        (tmp_path / name).touch()
    before = sorted(tmp_path.rglob("*"))
    status, said, error = command(capsys, "own.csv", "--model", "model", *options)
    assert (status, said) == (2, "") and told in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "own.mp4").stat().st_size == 0


# ------------------------------------------------------------------------------------------ bad input


def test_bad_clips_cost_themselves_alone(trained, tmp_path, capsys):
    (tmp_path / "no.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    shutil.copy(clip_of(trained), tmp_path / "good.mp4")
    names = ["nosuch.mp4", "no.mp4", "good.mp4", "empty.mp4"]
    given = [tmp_path / name for name in names]
    status, said, error = command(
        capsys,
        *given,
        trained / "own/broken.mp4",
        "--model",
        trained / "results/demo/model",
        "--format",
        "jsonl",
    )
    assert status == 2
    assert [json.loads(line)["clip"] for line in said.splitlines()] == [str(tmp_path / "good.mp4")]
    told = error.splitlines()
    assert len(told) == 4 and "Traceback" not in error
    assert told[0].endswith("nosuch.mp4: no such file") and "can't be read to its end" in told[1]
    assert "0 bytes" in told[2] and "broken.mp4: " in told[3]
    refused = pd.read_csv(trained / "results/demo/predictions/own.refused.csv")
    assert refused["clip"].tolist() == ["broken.mp4"]


def test_from_python_one_bad_clip_raises_and_of_several_it_is_left_out(trained, model):
    with pytest.raises(Unusable, match="no such file"):
        model.predict("nosuch.mp4")
    found = model.predict(["nosuch.mp4", clip_of(trained)])
    assert len(found) == 1 and found.attrs["refused"] == [("nosuch.mp4", "no such file")]


def test_nothing_asks_for_a_network(trained, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import no_network\n"
        "try: no_network.forbid()\n"
        "except no_network.Unsupported as reason: sys.exit(f'skip {reason}')\n"
        "from cmc import cli\n"
        "sys.exit(cli.main(sys.argv[2:]))"
    )
    line = ["predict", clip_of(trained), "--model", trained / "results/demo/model", "--text", "I like it."]
    done = subprocess.run(
        [sys.executable, "-c", code, TESTS, *map(str, line)], capture_output=True, text=True, cwd=tmp_path
    )
    if done.stderr.startswith("skip"):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 2


# ------------------------------------------------------------------------------------------ the model's directory


@pytest.fixture
def copied(trained, tmp_path):
    """The model at another place, as copied or sent."""
    return shutil.copytree(trained / "results/demo/model", tmp_path / "elsewhere")


def changed(directory, **facts):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_a_model_can_be_taken_along(copied, trained, rows):
    here = cmc.load(copied).predict(trained / "own/a.mp4")
    assert here["class"].tolist() == rows["class"].tolist()[:1]
    card = (copied / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: cmc-workflow\n")
    for part in ("can't read people", "What it is not for", "| cmc | test |", "mediapipe", "temperature"):
        assert part in card
    assert (copied / "seed1.safetensors").stat().st_mode == (copied / "config.json").stat().st_mode


def truncate(directory):
    path = directory / "seed1.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda d: (d / "config.json").unlink(), "is no model: it has no config.json"),
        (lambda d: (d / "config.json").write_text("{"), "config.json is damaged"),
        (lambda d: changed(d, format="cmc-model-0"), "format 'cmc-model-0', this version reads cmc-model-1"),
        (lambda d: changed(d, temperatures={"1": {"consensus": 0}}), "config.json is damaged"),
        (lambda d: changed(d, temperatures={"../../x": {}}), "config.json is damaged"),
        (lambda d: (d / "seed1.safetensors").unlink(), "seed1.safetensors is missing, damaged or of another"),
        (truncate, "seed1.safetensors is missing, damaged or of another model"),
        (
            lambda d: (d / "pytorch_model.bin").touch(),
            "holds pytorch_model.bin: files of this kind can run code",
        ),
        (lambda d: shutil.rmtree(d), "is not on this machine"),
    ],
)
def test_a_harmed_model_is_refused_in_a_line(copied, trained, capsys, harm, told):
    harm(copied)
    status, said, error = command(capsys, clip_of(trained), "--model", copied)
    assert (status, said) == (2, "") and told in error and error.count("\n") == 1


def test_a_model_of_any_size_claims_no_memory(copied):
    facts = json.loads((copied / "config.json").read_text())
    for change in (
        {"dim": 1 << 40},
        {"layers": 1 << 40},
        {"features": facts["dimensions"]["features"] | {"text": 1 << 40}},
    ):
        changed(copied, dimensions=facts["dimensions"] | change)
        with pytest.raises(ModelError, match="damaged"):
            cmc.load(copied)


def test_a_model_names_no_extractor_of_its_own(copied):
    facts = json.loads((copied / "config.json").read_text())
    for own in ({"name": "os", "settings": {}}, {"name": "chsims33", "settings": {"anything": 1}}):
        changed(copied, extraction=facts["extraction"] | {"audio": own})
        with pytest.raises(ModelError, match="damaged"):
            cmc.load(copied)


def test_features_must_be_those_of_training(copied, trained):
    facts = json.loads((copied / "config.json").read_text())
    recipes = facts["recipes"]
    other = recipes["audio"] | {"version": "librosa 0.9"}
    changed(copied, recipes=recipes | {"audio": other})
    with pytest.raises(ModelError, match=r"librosa 0\.9 -> librosa 0\.11"):
        cmc.load(copied).predict(clip_of(trained))
    assert len(cmc.load(copied, other_versions=True).predict(clip_of(trained))) == 1
    other = recipes["vision"] | {"settings": recipes["vision"]["settings"] | {"rate": 30.0}}
    changed(copied, recipes=recipes | {"vision": other})
    with pytest.raises(ModelError, match=r"rate 30\.0 -> 10\.0"):
        cmc.load(copied, other_versions=True).predict(clip_of(trained))
    changed(copied, recipes=recipes, extraction={})
    with pytest.raises(ModelError, match="features that others extracted"):
        cmc.load(copied).predict(clip_of(trained))
    changed(copied, extraction=facts["extraction"], text_encoder="nobody/nothing")
    with pytest.raises(ModelError, match="text extractor can't be had"):
        cmc.load(copied).predict(clip_of(trained), text="Hello.")
    assert (
        len(cmc.load(copied, text_encoder=facts["text_encoder"]).predict(clip_of(trained), text="Hello."))
        == 1
    )


def test_calibration_finds_the_temperature_of_overconfident_logits():
    generator = np.random.default_rng(0)
    honest = generator.normal(size=(4000, 3)) * 1.5
    classes = np.array([generator.choice(3, p=p) for p in softmax(honest, axis=1)])
    assert export.temperature(3 * honest, classes) == pytest.approx(3, rel=0.1)
    assert export.temperature(honest, classes) == pytest.approx(1, rel=0.1)


# ------------------------------------------------------------------------------------------ Python


def test_features_of_a_clip_are_those_of_the_run(trained):
    results = cmc.open(trained / "results/demo")
    clip = results.clips.iloc[0]
    video, name = clip["clip_id"].split("$_$")
    fresh = cmc.extract(trained / f"results/demo/corpus/Raw/{video}/{name}.mp4", text=clip["text"])
    stored = results.features(clip["clip_id"])
    assert list(fresh) == list(stored) == list(cmc.MODALITIES)
    for modality, table in fresh.items():
        assert list(table.columns) == list(stored[modality].columns)
        np.testing.assert_allclose(table.to_numpy(), stored[modality].to_numpy(), atol=0.01)
        np.testing.assert_allclose(table.index, stored[modality].index)
        assert table.attrs["version"] == stored[modality].attrs["version"]
    assert fresh["vision"].index.name == "seconds" and fresh["vision"].attrs["quality"]["faces"] > 0.9
    with warnings.catch_warnings(action="error"):
        assert "seconds" in repr(stored["vision"])
    with pytest.raises(Unusable, match=r"^nosuch\.mp4: no such file$"):
        cmc.extract("nosuch.mp4")
    with pytest.raises(KeyError, match="no clip is called"):
        results.features("nobody")
    with pytest.raises(ValueError, match="choose one of chsims33"):
        cmc.extract(clip_of(trained), audio="nothing")


def test_results_and_plot(trained, tmp_path):
    results = cmc.open(trained / "results/demo")
    assert results.variant == "cmc" and set(results.predictions["seed"]) == {1, 2}
    assert results.table["model"].iloc[0] == "cmc"
    clip = results.predictions["clip_id"].iloc[0]
    results.plot(clip).savefig(tmp_path / "clip.png")
    results.plot(results.clips["clip_id"].iloc[0]).savefig(tmp_path / "other.svg")
    assert (tmp_path / "clip.png").stat().st_size > 10_000
    with pytest.raises(FileNotFoundError, match=r"snakemake nowhere/table\.csv"):
        cmc.open("nowhere")


def test_importing_and_helping_wait_for_nothing(tmp_path):
    code = (
        "import sys, cmc\n"
        "from cmc import cli\n"
        "try: cli.main(['predict', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'pandas', 'av', 'transformers'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert "--model" in done.stdout and "Nothing is sent anywhere" in done.stdout
    assert {"load", "extract", "open", "Results", "Model"} <= set(dir(cmc))
    with pytest.raises(AttributeError):
        cmc.nothing  # noqa: B018


def test_a_table_on_a_terminal(trained, capsys):
    status, said, _ = command(
        capsys, clip_of(trained), "--model", trained / "results/demo/model", "--format", "table"
    )
    heading, row = said.splitlines()
    assert (
        status == 0 and heading.split()[:3] == ["clip", "seconds", "class"] and "text: no transcript" in row
    )
    assert "vision (weight)" in heading and re.search(r"(negative|neutral|positive) +\d+% .*\(0\.\d\d\)", row)


def test_a_file_is_whole_or_not_there(trained, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    status, said, _ = command(
        capsys, clip_of(trained), "--model", trained / "results/demo/model", "--out", out
    )
    assert (status, said) == (0, "") and json.loads(out.read_text())["clip"] == str(clip_of(trained))
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_the_notebook_runs(trained, monkeypatch):
    notebook = json.loads((TESTS.parent / "docs/example.ipynb").read_text())
    monkeypatch.chdir(trained)
    names: dict = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["row"]["class"] in CLASSES and len(names["windows"]) > 2
