"""Of several faces, the one that speaks."""

from dataclasses import replace

import numpy as np
import pytest
from test_media import FPS, write_clip

from cmc.demo import face, film, speech
from cmc.features import media
from cmc.features.contract import Unusable
from cmc.features.extractors import speaker
from cmc.features.extractors.mediapipe import MediaPipe

SECONDS = 4.0
LOOKS = [replace(face.look_of(2), size=88.0, x=160.0, y=120.0), replace(face.look_of(5), size=70.0, x=160.0)]
WIDTH = face.WIDTH


def say(text, seed):
    spoken = film.record(speech.speak(text, 0.0, speech.voice_of(1), SECONDS - 0.6), seed)
    return np.resize(spoken, round(SECONDS * FPS) * film.SAMPLES_PER_FRAME)


HEARD = say("I told you that the train would leave at seven.", 1)
UNHEARD = say("Nobody knows why, but all of them came back.", 2)  # its mouth moves, out of step


def shots(openings):
    """Two people side by side, whose mouths open so."""
    acted = [face.act(opening, 0.0, FPS, seed) for seed, opening in enumerate(openings)]
    for expressions in zip(*acted, strict=True):
        both = [face.draw(look, expression) for look, expression in zip(LOOKS, expressions, strict=True)]
        yield np.ascontiguousarray(np.concatenate(both, axis=1)[:, :, ::-1])


def two_people(path, speaking, sound=HEARD, hidden=()):
    """A film in which the larger (0) or the smaller person (1) speaks; frames in `hidden` show a wall instead."""
    openings = [np.roll(film.mouth_opening(UNHEARD), 7)] * 2
    openings[speaking] = film.mouth_opening(HEARD)
    pictures = [
        (i / FPS, np.full_like(rgb, 90) if i in hidden else rgb) for i, rgb in enumerate(shots(openings))
    ]
    wave = None if sound is None else sound[np.newaxis]
    return write_clip(path, pictures, wave, speech.SAMPLE_RATE)


@pytest.fixture(scope="module")
def extractors():
    with MediaPipe() as largest, MediaPipe(speaker="active") as active:
        yield largest, active


def alone(path, extractor, person):
    """What the extractor sees where only one half of the picture is shown."""
    rows = []
    for _, rgb in media.frames(path, extractor.rate):
        half = rgb.copy()
        half[:, WIDTH * (1 - person) : WIDTH * (2 - person)] = 90
        rows.append(extractor.of_picture(half))
    return np.stack(rows)


@pytest.mark.parametrize("speaking", [0, 1])
def test_the_one_who_speaks_is_kept(tmp_path, extractors, speaking):
    largest, active = extractors
    path = two_people(tmp_path / "a.mp4", speaking)
    shape = largest.columns.index("mouthFunnel")
    kept = active.extract(path)
    assert kept.quality["faces"] == 1 and len(kept.values) == 40
    expected = [alone(path, largest, person) for person in (0, 1)]
    distance = [np.abs(kept.values - values)[:, : shape - 60].mean() for values in expected]
    assert distance[speaking] < 0.3 * distance[1 - speaking]
    of_largest = largest.extract(path).values
    assert np.abs(of_largest - expected[0]).mean() < np.abs(of_largest - expected[1]).mean()


def test_frames_without_anyone_keep_their_times(tmp_path, extractors):
    path = two_people(tmp_path / "a.mp4", 1, hidden=range(25, 40))
    kept = extractors[1].extract(path)
    missing = np.isnan(kept.values).all(axis=1)
    assert np.array_equal(missing, (kept.times > 0.99) & (kept.times < 1.59))
    assert len(kept.times) == kept.quality["frames"] == 40


def test_one_face_needs_no_sound_and_two_do(tmp_path, extractors):
    pictures = [
        (i / FPS, rgb[:, :WIDTH].copy()) for i, rgb in zip(range(10), shots([np.zeros(10)] * 2), strict=False)
    ]
    one = write_clip(tmp_path / "1.mp4", pictures)
    values = [extractor.extract(one).values for extractor in extractors]
    assert np.array_equal(*values, equal_nan=True) and np.isfinite(values[0]).all()
    with pytest.raises(Unusable, match=r"no audio track; .* set speaker: largest"):
        extractors[1].extract(two_people(tmp_path / "2.mp4", 0, sound=None))


def test_a_cut_loses_no_frame_and_needs_no_sound(tmp_path, extractors):
    left = list(shots([np.zeros(20)] * 2))[:20]
    pictures = []
    for i, rgb in enumerate(left):
        alone = np.full_like(rgb, 90)
        half = slice(None, WIDTH) if i < 10 else slice(WIDTH, None)
        alone[:, half] = rgb[:, half]
        pictures.append((i / FPS, alone))
    path = write_clip(tmp_path / "a.mp4", pictures)
    largest, active = (extractor.extract(path).values for extractor in extractors)
    assert np.array_equal(largest, active) and np.isfinite(active).all()


def test_after_a_cut_the_speaker_is_chosen_again(tmp_path, extractors):
    path = two_people(tmp_path / "a.mp4", 1, hidden=range(30, 60))  # longer than a face may be gone
    kept, shown = extractors[1].extract(path), alone(path, extractors[0], 1)
    seen = ~np.isnan(kept.values[:, 0])
    assert np.array_equal(seen, (kept.times < 1.19) | (kept.times > 2.39))
    assert np.abs(kept.values[seen] - shown[seen])[:, : 3 * 478].mean() < 0.02


def test_silence_leaves_the_largest(tmp_path, extractors):
    path = two_people(tmp_path / "a.mp4", 1, sound=np.zeros_like(HEARD))
    largest, active = (extractor.extract(path).values for extractor in extractors)
    assert np.array_equal(largest, active, equal_nan=True)


def seen(frame, x, size=10.0, opening=0.0):
    return speaker.Face(frame, frame / 10, np.array([x, 0.0, x + size, size]), opening)


def test_faces_are_linked_by_place():
    faces = [face for i in range(10) for face in (seen(i, 0 + 2 * i), seen(i, 100 - 2 * i))]
    faces = [face for i, face in enumerate(faces) if i != 5]  # one is missed for a frame
    tracks = speaker.link(faces)
    assert sorted(len(track.members) for track in tracks) == [9, 10]
    assert all(np.ptp(np.diff([faces[i].box[0] for i in track.members])) <= 2 for track in tracks)


def test_a_face_far_away_or_much_later_is_another():
    assert len(speaker.link([seen(0, 0), seen(1, 50)])) == 2
    assert len(speaker.link([seen(0, 0), seen(20, 0)])) == 2
    assert speaker.link([]) == []


def test_tracks_that_share_a_frame_are_one_scene():
    one = [seen(i, 0) for i in range(5)]
    two = [seen(i, x) for i in range(20, 25) for x in (0, 100)] + [seen(i, 100) for i in range(25, 30)]
    joined = [seen(i, 200) for i in range(28, 35)]  # shares frames with the second of the two alone
    faces = sorted(one + two + joined, key=lambda face: face.frame)
    found = speaker.scenes(faces, speaker.link(faces))
    assert sorted(sorted(len(track.members) for track in tracks) for tracks in found) == [[5], [5, 7, 10]]
    assert speaker.scenes([], []) == []


def test_a_short_track_that_fits_by_chance_is_not_chosen():
    rng = np.random.default_rng(0)
    sound = rng.normal(size=50)
    whole = [seen(i, 0, opening=0.7 * sound[i] + 0.7 * rng.normal()) for i in range(50)]
    short = [seen(i, 100, opening=sound[i]) for i in range(10, 15)]
    faces = sorted(whole + short, key=lambda face: face.frame)
    chosen = speaker.active(faces, speaker.link(faces), sound)
    assert len(chosen.members) == 50


def test_loudness():
    wave = np.zeros(22050, np.float32)
    wave[11025:] = 0.1
    times = np.array([0.0, 0.25, 0.75, 0.95, 3.0])
    pieces = np.split(wave, [1000, 1001, 15000])
    found = speaker.loudness(pieces, 22050, times)
    assert found == pytest.approx([-60, -60, -20, -20, -60], abs=0.3)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="speaker is 'loudest': choose one of largest, active"):
        MediaPipe(speaker="loudest")
