"""The film of a clip with its readings."""

import av
import numpy as np
from test_predict import clip_of, command

from cmc.features import media
from cmc.labels import Scheme
from cmc.prediction import overlay


def test_a_film_with_landmarks_sound_and_readings(trained, tmp_path, capsys):
    out, clip = tmp_path / "seen.mp4", clip_of(trained)
    status, said, _ = command(
        capsys,
        clip,
        "--model",
        trained / "results/demo/model",
        "--window",
        "1",
        "--hop",
        "0.5",
        "--overlay",
        out,
    )
    assert status == 0 and said.count("\n") > 2
    times, first = zip(*((t, rgb) for t, rgb in media.frames(clip, 25)), strict=True)
    seen, pictures = zip(*((t, rgb) for t, rgb in media.frames(out, 100)), strict=True)
    np.testing.assert_allclose(seen, times, atol=0.002)
    height, width = first[0].shape[:2]
    assert pictures[0].shape[1] == max(width, overlay.SMALLEST) and pictures[0].shape[0] > height
    scale = pictures[0].shape[1] / width
    top = pictures[0][: round(height * scale)].astype(int)
    assert (np.abs(top - overlay.enlarged(first[0])[: len(top)].astype(int)).max(axis=2) > 60).sum() > 300
    below = pictures[0][round(height * scale) + 2 :]
    assert (below > 240).all(axis=2).mean() > 0.5 and (below < 100).all(axis=2).any()
    assert not np.array_equal(below, pictures[-1][round(height * scale) + 2 :])  # the cursor has moved
    sound, heard = media.audio(clip, 16000), media.audio(out, 16000)
    assert abs(len(sound) - len(heard)) < 3200
    with av.open(str(out)) as film:
        assert [stream.type for stream in film.streams] == ["audio", "video"]


def test_a_clip_as_a_whole_and_without_sound(trained, tmp_path, capsys):
    silent = tmp_path / "silent.mp4"
    with av.open(str(silent), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        pictures = [rgb for _, rgb in media.frames(clip_of(trained), 25)]
        stream.height, stream.width, _ = pictures[0].shape
        stream.pix_fmt = "yuv420p"
        for rgb in pictures:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        film.mux(stream.encode())
    out = tmp_path / "seen.mp4"
    status, said, _ = command(
        capsys,
        silent,
        "--model",
        trained / "results/demo/model",
        "--text",
        "Good.",
        "--overlay",
        out,
        "--format",
        "table",
    )
    assert status == 0 and "audio: no audio track" in said
    with av.open(str(out)) as film:
        assert [stream.type for stream in film.streams] == ["video"]


def test_what_is_drawn_of_polarity_and_of_emotions():
    row = {"class": "sad", "happy": 0.25, "sad": 0.75, "text_happy": 0.5, "text_sad": 0.5}
    emotions = Scheme(("happy", "sad"))
    assert overlay.height(row, "consensus", emotions) == 0.5 and overlay.height(row, "text", emotions) == 0
    row = {"class": "positive", "negative": 0.125, "neutral": 0.25, "positive": 0.625}
    assert overlay.height(row, "consensus", Scheme(has0="nonpositive_positive")) == 0.5
