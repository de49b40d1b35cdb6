"""A data set of recordings without transcripts: parts of them are clips, and what is said is written down."""

from itertools import pairwise

import pandas as pd
import pytest
from small_run import MINE, planned, snakemake
from tiny_models import whisper

from cmc.features import store


@pytest.mark.slow
def test_parts_of_recordings_transcribed_and_corrected(demo, tmp_path):
    folder, _ = demo
    raw = sorted((folder / "results/demo/corpus/Raw").glob("*/*.mp4"))
    (tmp_path / "data").mkdir()
    rows = []
    for number, split in enumerate(["train", "train", "valid", "test"]):
        name = f"talk{number}.mp4"
        (tmp_path / "data" / name).write_bytes(raw[number].read_bytes())
        for part, (start, end) in enumerate([(0.1, 1.0), (1.0, 1.9)]):
            rows.append((f"v{number}", part, name, start, end, (-1) ** part * 0.5, split))
    columns = ["video_id", "clip_id", "path", "start", "end", "label", "mode"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "data/label.csv", index=False)
    mine = MINE | {"root": "data", "transcribe": str(whisper(tmp_path / "whisper")), "unimodal_labels": False}
    config = {"datasets": {"mine": mine}, "features": {"shards": {"text": 4, "audio": 4, "vision": 4}}}
    target = "results/mine/features.h5"
    snakemake(tmp_path, target, config=config)

    written = pd.read_csv(tmp_path / "results/mine/transcripts.csv", dtype=str)
    with store.Reader(tmp_path / target) as reader:
        clips = reader.table("clips")
        seconds = [
            rows.times[-1]
            for rows in (reader.rows("audio", *pair) for pair in pairwise(reader.offsets("audio")))
        ]
    assert len(clips) == 8 and clips["text"].tolist() == written["text"].tolist()
    assert all(0.8 < last < 1.0 for last in seconds)
    assert clips["end"].tolist() == [1.0, 1.9] * 4
    assert planned(tmp_path, target, config=config) == {}

    # a correction by hand: text is extracted again, nothing is transcribed again, and it stays when that is
    list_path = tmp_path / "results/mine/transcripts.csv"
    list_path.write_text(list_path.read_text().replace(written["text"][0], "Something else.", 1))
    assert "transcribe" not in planned(tmp_path, target, config=config)
    snakemake(tmp_path, target, config=config)
    snakemake(tmp_path, target, "--forcerun", "transcribe", config=config)
    with store.Reader(tmp_path / target) as reader:
        assert reader.table("clips")["text"][0] == "Something else."
