"""A piece of a recording is what it would be as a clip of its own."""

import numpy as np
import pytest
from test_media import FPS, picture, write_clip

from cmc.features import media
from cmc.features.contract import Unusable
from cmc.features.media import Piece

CODECS = {
    "mp4": ("libx264", "aac"),
    "mkv": ("libx264", "aac"),
    "avi": ("mpeg4", "mp3"),
    "ts": ("libx264", "aac"),
    "webm": ("libvpx-vp9", "libopus"),
}
RATE = 16000


@pytest.fixture(scope="module", params=CODECS)
def recording(request, tmp_path_factory):
    """Eight seconds whose pictures grow lighter and whose tone rises, a key picture every two seconds."""
    seconds = np.arange(8 * 48000) / 48000
    wave = 0.5 * np.sin(2 * np.pi * (100 + 20 * seconds) * seconds)[None].astype(np.float32)
    pictures = [(i / FPS, picture(20 + i)) for i in range(8 * FPS)]
    return write_clip(
        tmp_path_factory.mktemp("recording") / f"r.{request.param}",
        pictures,
        wave,
        codecs=CODECS[request.param],
        video_options={"g": "50"},
    )


def shown(path, rate=100):
    times, light = zip(*((t, rgb.mean()) for t, rgb in media.frames(path, rate)), strict=True)
    return np.array(times), np.array(light)


@pytest.mark.parametrize(("start", "end"), [(0.0, 2.5), (1.9, 4.1), (3.0, 7.0), (6.3, 7.9)])
def test_pictures_and_sound_of_a_piece(recording, start, end):
    piece = Piece(str(recording), start, end)
    times, light = shown(recording)
    inside = (times >= start - 1e-3) & (times < end - 1e-3)
    own_times, own_light = shown(piece)
    np.testing.assert_allclose(own_times, times[inside] - start, atol=1e-3)
    if recording.suffix == ".avi":  # has no presentation times: after a jump they are a picture off
        np.testing.assert_allclose(own_light, light[inside], atol=8)
    else:
        assert np.array_equal(own_light, light[inside])
    sampled, _ = shown(piece, rate=5)
    assert np.all(np.diff(sampled) > 0.15) and abs(len(sampled) - (end - start) * 5) <= 1

    whole, own = media.audio(recording, RATE), media.audio(piece, RATE)
    expected = whole[round(start * RATE) : round(end * RATE)]
    assert abs(len(own) - len(expected)) <= 1
    middle = own[RATE // 10 : -RATE // 10]
    agreement = [  # Matroska rounds times to milliseconds
        np.corrcoef(middle, expected[RATE // 10 + shift :][: len(middle)])[0, 1] for shift in range(-20, 21)
    ]
    assert max(agreement) > 0.99


@pytest.mark.parametrize(("start", "end"), [(7.0, 9.5), (9.0, 10.0), (2.0, 2.0), (-1.0, 1.0)])
def test_a_piece_that_is_not_in_the_recording(recording, start, end):
    for read in (lambda p: list(media.frames(p, 10)), media.audio):
        with pytest.raises(Unusable, match="is not in the recording"):
            read(Piece(str(recording), start, end))


def test_a_piece_of_a_long_recording_costs_no_more_than_of_a_short_one(recording, monkeypatch):
    decoded = []
    real = media._decoded

    def counted(*arguments, **named):
        for frame in real(*arguments, **named):
            decoded.append(frame)
            yield frame

    monkeypatch.setattr(media, "_decoded", counted)
    list(media.frames(Piece(str(recording), 6.2, 6.6), 10))
    # from the last key picture on; MPEG-TS has no index, and is aimed at five seconds earlier
    assert len(decoded) < (7 if recording.suffix == ".ts" else 2.5) * FPS


def test_length(recording):
    assert media.duration(recording) == pytest.approx(8, abs=0.2)
