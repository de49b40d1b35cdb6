"""What is said and when, by a Whisper of random weights: times, silence, long sound, models that are none."""

import numpy as np
import pytest
from test_media import click, write_clip
from tiny_models import text_encoder, whisper

from cmc.features import media, transcription
from cmc.features.contract import Unusable
from cmc.features.guard import Turn
from cmc.features.transcription import SAMPLE_RATE, Transcriber, TranscriptionError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def transcriber(folder):
    return Transcriber(str(folder), "en")


def noise(seconds):
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 70.0])
def test_segments_follow_each_other_within_the_sound(transcriber, seconds):
    found = transcriber.of_wave(noise(seconds))
    assert found and all(one.text.isalpha() for one in found)
    assert all(0 <= one.start < one.end <= seconds for one in found)
    assert seconds < 30 or found[-1].end > 30  # the model hears 30 s at once


def test_in_silence_nothing_is_said(transcriber):
    assert transcriber.of_wave(np.zeros(SAMPLE_RATE, np.float32)) == []
    assert transcriber.of_wave(np.zeros(0, np.float32)) == []


def test_long_recordings_are_heard_in_blocks(transcriber, tmp_path, monkeypatch):
    path = write_clip(tmp_path / "talk.mp4", wave=click(0.5, seconds=9.0))
    monkeypatch.setattr(transcription, "BLOCK", 4.0)
    blocks = list(transcription.blocks(media.sound(path, SAMPLE_RATE)))
    assert [round(start, 3) for start, _ in blocks] == [0, 4, 8]
    whole = np.concatenate([wave for _, wave in blocks])
    assert np.array_equal(whole, media.audio(path, SAMPLE_RATE))
    assert all(one.end <= 4 for one in transcriber.segments(path))  # only there is something to be heard


def test_a_clip_without_sound_is_told(transcriber, tmp_path):
    with pytest.raises(Unusable, match="no such file"):
        transcriber.segments(tmp_path / "nosuch.mp4")


def test_models_that_can_not_transcribe(tmp_path):
    with pytest.raises(TranscriptionError, match="hf download openai/whisper-small"):
        Transcriber("nobody/nothing")
    with pytest.raises(TranscriptionError, match="kind bert: give one of Whisper's"):
        Transcriber(str(text_encoder("bert", tmp_path / "bert")))


def test_clips_that_a_guard_has_refused_are_left_out(transcriber, tmp_path):
    path = str(write_clip(tmp_path / "a.mp4", wave=click(0.5)))
    begun = []
    turn = Turn({"b": "the extractor died on it"}, ["c"], begun.append)
    said = transcription.of_clips(transcriber, {"a": path, "b": path, "c": path, "d": __file__}, turn)
    assert begun == ["c", "a", "c", "d"]
    assert said["a"] == said["c"] != "" and said["b"] == said["d"] == ""
