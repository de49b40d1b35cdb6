"""cmc.media on small files made here: when things happen, and what is refused with which reason."""

import socket
import subprocess
import sys
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest

from cmc.corpus import manifest
from cmc.features import media
from cmc.features.contract import Unusable

TICK = Fraction(1, 1000)  # s, of the pictures' time stamps
FPS = 25
GREY = 20
IDENTITY = b"".join(n.to_bytes(4, "big") for n in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
CLOCKWISE = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))


def write_clip(
    path,
    pictures=(),
    wave=None,
    sample_rate=48000,
    layout="mono",
    codecs=("libx264", "aac"),
    late=0.0,
    options=(),
    pix_fmt="yuv420p",
    video_options=(),
    format=None,
):
    """Encode pictures [(seconds, rgb)] and sound (channels, samples) that begins `late` seconds after 0."""
    with av.open(str(path), "w", format=format, options=dict(options)) as container:
        packets = []
        if pictures:
            video = container.add_stream(codecs[0], rate=FPS, options=dict(video_options))
            video.height, video.width, _ = pictures[0][1].shape
            video.pix_fmt = pix_fmt
            # MPEG-2 knows few rates
            video.codec_context.time_base = Fraction(1, FPS) if codecs[0] == "mpeg2video" else TICK
        if wave is not None:
            audio = container.add_stream(codecs[1], rate=sample_rate)
            audio.layout = layout
            if codecs[1] == "wmav2":
                audio.bit_rate = 128_000
        for seconds, rgb in pictures:
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = round(seconds / TICK), TICK
            packets += video.encode(frame)
        if wave is not None:
            packed = np.ascontiguousarray(wave.T.reshape(1, -1), dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
            frame.sample_rate = sample_rate
            frame.pts, frame.time_base = round(late * sample_rate), Fraction(1, sample_rate)
            packets += audio.encode(frame) + audio.encode()
        if pictures:
            packets += video.encode()
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def picture(level=GREY, width=64, height=48):
    return np.full((height, width, 3), level, np.uint8)


def film(seconds=2.0, white_at=None, **size):
    """Grey pictures at 25 a second, a white one at `white_at`."""
    times = [i / FPS for i in range(round(seconds * FPS))]
    return [(t, picture(255 if t == white_at else GREY, **size)) for t in times]


def click(at, seconds=2.0, sample_rate=48000, channels=1):
    wave = np.zeros((channels, round(seconds * sample_rate)), np.float32)
    wave[:, round(at * sample_rate) :][:, :200] = 0.9
    return wave


def tone(hertz, seconds=1.0, sample_rate=48000):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)[None]


def onset(wave):
    """Second at which the sound becomes loud."""
    return np.argmax(np.abs(wave) > 0.3) / media.SAMPLE_RATE


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov"])
def test_click_and_flash_coincide(tmp_path, name):
    path = write_clip(tmp_path / name, film(white_at=1.0), click(1.0))
    flashes = [t for t, rgb in media.frames(path, FPS) if rgb.mean() > 200]
    assert flashes == [pytest.approx(1.0, abs=1e-3)]
    assert onset(media.audio(path)) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("name", ["clip.ts", "clip.mkv"])
def test_late_sound_keeps_its_distance_from_the_picture(tmp_path, name):
    path = write_clip(tmp_path / name, film(white_at=1.0), click(0.5, seconds=1.0), late=0.5)
    (flash,) = (t for t, rgb in media.frames(path, FPS) if rgb.mean() > 200)
    assert onset(media.audio(path)) == pytest.approx(flash, abs=2e-3)


@pytest.mark.parametrize(
    ("extension", "codecs"),
    [
        (".m4v", ("libx264", "aac")),
        (".3gp", ("libx264", "aac")),
        (".ts", ("libx264", "aac")),
        (".mts", ("libx264", "aac")),
        (".m2ts", ("libx264", "aac")),
        (".flv", ("flv", "aac")),
        (".mpg", ("mpeg2video", "mp2")),
        (".mpeg", ("mpeg2video", "mp2")),
        (".wmv", ("wmv2", "wmav2")),
        (".ogv", ("libvpx", "libopus")),
    ],
)
def test_containers_of_cameras_and_of_older_days(tmp_path, extension, codecs):
    """Each is decoded, sound and pictures in time with each other."""
    assert extension in manifest.EXTENSIONS
    rate = 44100 if extension == ".flv" else 48000
    sound = click(1.0, sample_rate=rate)
    kind = {".m4v": {"format": "mp4"}}.get(extension, {})  # FFmpeg takes the name for a bare stream
    path = write_clip(tmp_path / f"clip{extension}", film(white_at=1.0), sound, rate, codecs=codecs, **kind)
    (flash,) = (t for t, rgb in media.frames(path, FPS) if rgb.mean() > 150)
    assert flash == pytest.approx(1.0, abs=0.1)
    assert onset(media.audio(path)) == pytest.approx(flash, abs=0.1)


def joined(tmp_path, shift):
    """Sound of two times 0.5 s, a click at 0.2 s of each; the second begins `shift` seconds after the first."""
    halves = [
        write_clip(tmp_path / f"{i}.mkv", wave=click(0.2, 0.5), codecs=(None, "pcm_s16le")) for i in (0, 1)
    ]
    path = tmp_path / "joined.mkv"
    with av.open(str(path), "w") as out:
        stream = None
        for start, half in zip((0.0, shift), halves, strict=True):
            with av.open(str(half)) as source:
                stream = stream or out.add_stream_from_template(source.streams.audio[0])
                for packet in source.demux():
                    if packet.pts is not None:
                        packet.stream = stream
                        packet.pts = packet.dts = packet.pts + round(start / packet.time_base)
                        out.mux(packet)
    return path


def test_overlapping_sound_is_refused(tmp_path):
    assert len(media.audio(joined(tmp_path, 0.48))) == pytest.approx(media.SAMPLE_RATE, abs=50)
    with pytest.raises(Unusable, match=r"time stamps jump back by 0\.20 s"):
        media.audio(joined(tmp_path, 0.3))


def test_hole_in_the_sound_is_filled(tmp_path):
    wave = media.audio(joined(tmp_path, 1.0))
    assert len(wave) == pytest.approx(1.5 * media.SAMPLE_RATE, abs=50)
    assert onset(wave) == pytest.approx(0.2, abs=1e-3)
    assert onset(wave[media.SAMPLE_RATE :]) == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("name", ["clip.ts", "clip.mkv"])
def test_time_counts_from_the_clips_start(tmp_path, name):
    pictures = [(t + 5, rgb) for t, rgb in film(white_at=1.0)]
    path = write_clip(tmp_path / name, pictures, click(1.0), late=5.0)
    assert [t for t, rgb in media.frames(path, FPS) if rgb.mean() > 200] == [pytest.approx(1.0, abs=0.025)]
    assert onset(media.audio(path)) == pytest.approx(1.0, abs=0.025)  # the start is that of the AAC priming


def test_no_time_is_negative(tmp_path):
    path, moved = write_clip(tmp_path / "a.ts", film(0.4)), tmp_path / "b.ts"
    with av.open(str(path)) as source, av.open(str(moved), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux():
            if packet.pts is not None:
                packet.stream = stream
                packet.pts, packet.dts = packet.pts + 5, packet.dts + 5  # of 1/90,000 s: 55.6 microseconds
                out.mux(packet)
    with av.open(str(moved)) as found:
        stream = found.streams.video[0]
        assert found.start_time > stream.start_time * stream.time_base * av.time_base
    times = [t for t, _ in media.frames(moved, FPS)]
    assert min(times) == 0 and len(times) == 10


def test_cover_art_is_no_video(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        audio, cover = container.add_stream("aac", rate=48000), container.add_stream("mjpeg", rate=1)
        audio.layout = "mono"
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        packets = cover.encode(av.VideoFrame.from_ndarray(picture(), format="rgb24")) + cover.encode()
        frame = av.AudioFrame.from_ndarray(click(0.5).astype(np.float32), format="flt", layout="mono")
        frame.sample_rate = 48000
        for packet in packets + audio.encode(frame) + audio.encode():
            container.mux(packet)
    assert onset(media.audio(path)) == pytest.approx(0.5, abs=0.025)
    with pytest.raises(Unusable, match="no video track"):
        read_frames(path)


def two_tracks(path):
    """The first track is of an unknown codec, as spatial sound of phones is; both are the default."""
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream(name, rate=48000) for name in ("ac3", "aac")]
        for track in tracks:
            track.layout, track.disposition = "mono", av.stream.Disposition.default
        for track, at in zip(tracks, (1.5, 0.5), strict=True):
            frame = av.AudioFrame.from_ndarray(click(at), format="flt", layout="mono")
            frame.sample_rate = 48000
            for packet in track.encode(frame) + track.encode():
                container.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"ac-3", b"apac"))
    return path


def test_of_two_tracks_the_one_that_can_be_decoded(tmp_path):
    path = two_tracks(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        assert [stream.codec_context is None for stream in container.streams.audio] == [True, False]
        assert container.streams.best("audio").index == 0
    assert onset(media.audio(path)) == pytest.approx(0.5, abs=0.03)


def test_a_track_that_can_not_be_decoded(tmp_path):
    path = write_clip(tmp_path / "a.mp4", film(), click(0.5), codecs=("libx264", "ac3"))
    path.write_bytes(path.read_bytes().replace(b"ac-3", b"apac").replace(b"avc1", b"zzzz"))
    for read, kind in ((media.audio, "audio"), (read_frames, "video")):
        with pytest.raises(Unusable, match=f"no decoder for the {kind} track"):
            read(path)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 44100, 48000])
def test_any_sample_rate(tmp_path, sample_rate):
    sound = tone(440, sample_rate=sample_rate)
    path = write_clip(tmp_path / "a.wav", wave=sound, sample_rate=sample_rate, codecs=(None, "pcm_s16le"))
    wave = media.audio(path)
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert len(wave) == pytest.approx(media.SAMPLE_RATE, abs=40)
    assert np.argmax(np.abs(np.fft.rfft(wave, media.SAMPLE_RATE))) == pytest.approx(440, abs=1)
    assert np.abs(wave).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("layout, channels", [("mono", 1), ("stereo", 2), ("5.1", 6)])
def test_channels_are_averaged(tmp_path, layout, channels):
    sound = np.zeros((channels, 48000))
    sound[0] = 0.6
    path = write_clip(tmp_path / "a.wav", wave=sound, layout=layout, codecs=(None, "pcm_s16le"))
    assert np.median(media.audio(path)) == pytest.approx(0.6 / channels, abs=1e-3)


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
@pytest.mark.parametrize("turned", [1.0, 0.95])
def test_channels_that_cancel_each_other(tmp_path, codec, turned):
    """As a wrongly wired microphone makes them: averaged, they were silence."""
    left = tone(440)
    path = write_clip(
        tmp_path / "a.mkv", wave=np.vstack([-turned * left, left]), layout="stereo", codecs=(None, codec)
    )
    told = []
    wave = media.audio(path, cancelled=told.append)
    middle = wave[5000:15000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(np.sqrt(np.mean(left**2)), rel=0.02)
    assert sum(told) == pytest.approx(len(wave), abs=3000)
    assert np.abs(np.diff(middle)).max() < 0.07  # of 440 Hz, without a jump


@pytest.mark.parametrize("right", [1.0, 0.0, -0.7, "other", "later"])
def test_channels_that_do_not_cancel_each_other_are_averaged(tmp_path, right):
    rng, left = np.random.default_rng(0), tone(440)
    others = {"other": rng.uniform(-0.5, 0.5, left.shape), "later": np.roll(left, 20)}
    wave = np.vstack([left, others[right] if right in others else right * left])
    path = write_clip(tmp_path / "a.wav", wave=wave, layout="stereo", codecs=(None, "pcm_f32le"))
    told = []
    found = media.audio(path, 48000, told.append)
    assert not told and np.allclose(found, wave.mean(axis=0), atol=1e-6)


def test_channels_that_cancel_each_other_for_a_while(tmp_path):
    tones = tone(440, 8.0)
    turned = np.where((np.arange(tones.size) // 48000 % 8) < 4, 1, -1) * tones
    path = write_clip(
        tmp_path / "a.wav", wave=np.vstack([tones, turned]), layout="stereo", codecs=(None, "pcm_s16le")
    )
    told = []
    wave = media.audio(path, cancelled=told.append)
    loud = np.sqrt(np.square(wave[: len(wave) // 1000 * 1000]).reshape(-1, 1000).mean(axis=1)) > 0.3
    assert loud[: len(loud) // 2 - 1].all() and loud[-60:].all()
    assert 0.4 < sum(told) / len(wave) < 0.5


def test_frames_are_chosen_by_time_stamp_at_a_constant_rate(tmp_path):
    path = write_clip(tmp_path / "a.mp4", film(1.0))
    times = [t for t, _ in media.frames(path, 10)]
    assert times == pytest.approx([0, 0.12, 0.2, 0.32, 0.4, 0.52, 0.6, 0.72, 0.8, 0.92], abs=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_are_chosen_by_time_stamp_at_a_variable_rate(tmp_path, name):
    stamps = [0, 0.04, 0.1, 0.5, 0.52, 0.9, 1.0, 1.35]
    path = write_clip(tmp_path / name, [(t, picture(20 + 25 * i)) for i, t in enumerate(stamps)])
    found = list(media.frames(path, 10))
    assert [t for t, _ in found] == pytest.approx([0, 0.1, 0.5, 0.9, 1.0, 1.35], abs=1e-3)
    assert [round((rgb.mean() - 20) / 25) for _, rgb in found] == [0, 2, 3, 5, 6, 7]


def test_a_rate_above_the_videos_gives_every_frame_once(tmp_path):
    path = write_clip(tmp_path / "a.mp4", film(1.0))
    times = [t for t, _ in media.frames(path, 1000)]
    assert times == pytest.approx(np.arange(FPS) / FPS, abs=1e-3)


OPEN_GOP = "log-level=none:bframes=8:b-pyramid=1:open-gop=1:keyint=20"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("rate", [3, 10, 30])
@pytest.mark.parametrize(
    "codec, options",
    [("libx264", {"bf": "8"}), ("libx264", {"flags": "+ildct"}), ("libx265", {"x265-params": OPEN_GOP})],
)
def test_skipped_decoding_changes_no_picture(tmp_path, monkeypatch, name, rate, codec, options):
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (12, 16, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    stamps = np.cumsum(rng.choice([0.02, 0.033, 0.05, 0.2], 60))
    pictures = [(t, np.roll(ground, (i // 2, i), axis=(0, 1))) for i, t in enumerate(stamps)]
    path = write_clip(tmp_path / name, pictures, codecs=(codec, None), video_options=options)
    assert media._needed(path, rate) is not None
    found = list(media.frames(path, rate))
    monkeypatch.setattr(media, "SKIPPING", ())
    expected = list(media.frames(path, rate))
    assert [t for t, _ in found] == [t for t, _ in expected]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, expected, strict=True))


MEMORY = """
import sys
from cmc.corpus import manifest
from cmc.features import media
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) / 1024
media._needed(sys.argv[1], 10)
small = peak()
assert len(media._needed(sys.argv[2], 10)) == 16
print(peak() - small)
"""


def test_the_compressed_video_is_not_held_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [(i / FPS, rng.integers(0, 255, (480, 640, 3), np.uint8)) for i in range(40)]
    options = {"qp": "0", "preset": "ultrafast"}
    paths = [
        write_clip(tmp_path / f"{n}.mp4", pictures[:n], codecs=("libx264", None), video_options=options)
        for n in (2, 40)
    ]
    size = paths[1].stat().st_size / 2**20
    found = subprocess.run([sys.executable, "-c", MEMORY, *paths], check=True, capture_output=True, text=True)
    assert size > 15 and float(found.stdout) < size / 3


@pytest.mark.parametrize("width", [64, 176, 360, 854])
def test_pictures_are_contiguous_and_unsheared(tmp_path, width):
    rgb = picture(0, width, 48)
    rgb[:, width // 2 :] = 250
    (_, found), *_ = media.frames(write_clip(tmp_path / "a.mp4", [(0, rgb), (0.04, rgb)]), FPS)
    assert found.flags.c_contiguous and found.dtype == np.uint8 and found.shape == rgb.shape
    assert np.abs(found.astype(int) - rgb)[:, np.abs(np.arange(width) - width // 2) > 8].max() < 20


def rotate(path, matrix=CLOCKWISE):
    """Have an MP4 file ask for a rotation."""
    content = path.read_bytes()
    track = content.index(b"tkhd")
    assert IDENTITY in content[track:]
    path.write_bytes(content[:track] + content[track:].replace(IDENTITY, matrix, 1))
    return path


def test_rotation_is_applied(tmp_path):
    rgb = picture(0, 64, 48)
    rgb[:24, :32] = 250  # top left
    path = rotate(write_clip(tmp_path / "a.mp4", [(0, rgb), (0.04, rgb)]))
    (_, found), *_ = media.frames(path, FPS)
    assert found.shape == (64, 48, 3) and found.flags.c_contiguous
    assert found[:28, 28:].mean() > 200 and found[:28, :20].mean() < 50  # top right


@pytest.mark.parametrize(
    ("matrix", "shape", "bright"),  # x' = ax + cy, y' = bx + dy, of (a, b, c, d)
    [
        ((-1, 0, 0, 1), (48, 64), (0, 1)),
        ((1, 0, 0, -1), (48, 64), (1, 0)),
        ((0, 1, 1, 0), (64, 48), (0, 0)),
        ((0, -1, -1, 0), (64, 48), (1, 1)),
        ((-1, 0, 0, -1), (48, 64), (1, 1)),
        ((0, -1, 1, 0), (64, 48), (1, 0)),
    ],
)
def test_reflection_is_applied(tmp_path, matrix, shape, bright):
    rgb = picture(0, 64, 48)
    rgb[:24, :32] = 250  # top left
    a, b, c, d = (65536 * n for n in matrix)
    asked = b"".join(n.to_bytes(4, "big", signed=True) for n in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    path = rotate(write_clip(tmp_path / "a.mp4", [(0, rgb), (0.04, rgb)]), asked)
    (_, found), *_ = media.frames(path, FPS)
    assert found.shape[:2] == shape and found.flags.c_contiguous
    quarters = found.reshape(2, shape[0] // 2, 2, shape[1] // 2, 3).mean(axis=(1, 3, 4))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == bright and quarters.max() > 200


def oblong(path, aspect, **size):
    """A picture whose pixels are not square."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        rgb = picture(**size)
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[:2], "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_pixels_become_square(tmp_path):
    (_, found), *_ = media.frames(oblong(tmp_path / "a.mkv", Fraction(4, 3)), FPS)
    assert found.shape == (48, 85, 3)


def test_pictures_that_opencv_can_not_take(tmp_path):
    """It ended the process."""
    path = oblong(tmp_path / "a.mkv", Fraction(191), width=320, height=240)
    with pytest.raises(Unusable, match=r"61120 x 240 pixels, more than 16384 to a side: re-encode"):
        read_frames(path)


@pytest.mark.parametrize(
    "name",
    [
        "影片 ünïcode.mp4",
        "-dash.mp4",
        "concat:a|b.mp4",
        "http:x.mp4",
        "per%03dcent [1] 'q' \"d\".mp4",
        "no_suffix",
    ],
)
def test_any_file_name(tmp_path, monkeypatch, name):
    written = write_clip(tmp_path / "plain.mp4", film(0.4), click(0.1, 0.4))
    written.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(media.frames(name, 5))) == 2
    assert onset(media.audio(name)) == pytest.approx(0.1, abs=2e-3)


def read_audio(path):
    return media.audio(path)


def read_frames(path):
    return list(media.frames(path, 10))


both = pytest.mark.parametrize("read", [read_audio, read_frames])


def test_no_audio_track(tmp_path):
    with pytest.raises(Unusable, match="no audio track"):
        media.audio(write_clip(tmp_path / "a.mp4", film()))


def test_no_video_track(tmp_path):
    with pytest.raises(Unusable, match="no video track"):
        read_frames(write_clip(tmp_path / "a.m4a", wave=click(0.1)))


@both
def test_no_file(tmp_path, read):
    with pytest.raises(Unusable, match="no such file"):
        read(tmp_path / "none.mp4")


@both
@pytest.mark.parametrize(
    "content, reason", [(b"", "empty"), (np.random.default_rng(0).bytes(20_000), "can't be read")]
)
def test_not_media(tmp_path, read, content, reason):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(Unusable, match=reason):
        read(path)


@both
def test_directory(tmp_path, read):
    with pytest.raises(Unusable, match="can't be read"):
        read(tmp_path)


@both
@pytest.mark.parametrize(
    "name, options", [("a.mp4", {"movflags": "faststart"}), ("a.mp4", {}), ("a.mkv", {})]
)
@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_truncated(tmp_path, read, name, options, kept):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 4 * 48000))
    path = write_clip(tmp_path / name, film(4.0), noise, options=options)
    read(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(Unusable):
        read(path)


@both
def test_damaged_in_the_middle(tmp_path, read):
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, (1, 2 * 48000))
    shots = [(i / FPS, rng.integers(0, 255, (48, 64, 3), np.uint8)) for i in range(2 * FPS)]
    path = write_clip(tmp_path / "a.mp4", shots, noise, options={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(content)
    with pytest.raises(Unusable, match="can't be read to its end"):
        read(path)


def test_single_flipped_bits_are_refused_or_do_no_harm(tmp_path):
    rng = np.random.default_rng(5)
    ground = rng.integers(0, 255, (96, 128, 3), np.uint8)
    shots = [(i / FPS, np.roll(ground, 2 * i, axis=1)) for i in range(60)]
    path = write_clip(tmp_path / "a.mp4", shots)
    content, clean = path.read_bytes(), [rgb.astype(int) for _, rgb in read_frames(path)]
    start, stop = content.index(b"mdat") + 1000, content.index(b"moov")
    refused, harmed = [], 0
    for place in rng.integers(start, stop, 40):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found = [rgb for _, rgb in read_frames(path)]
        except Unusable as error:
            refused.append(str(error))
        else:
            harmed += max(np.abs(a - b).mean() for a, b in zip(clean, found, strict=True)) > 2
    assert sum("damaged: an error in the picture" in reason for reason in refused) > 5
    assert harmed <= 10, harmed


def test_sound_with_infinite_samples(tmp_path):
    sound = tone(440)
    sound[0, 100] = np.inf
    with pytest.raises(Unusable, match="finite"):
        media.audio(write_clip(tmp_path / "a.wav", wave=sound, codecs=(None, "pcm_f32le")))


@both
def test_playlist_reaches_no_server(tmp_path, read):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        path = tmp_path / "a.m3u8"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n")
        with pytest.raises(Unusable):
            read(path)
        with pytest.raises(TimeoutError):
            server.accept()


def test_nothing_is_printed(tmp_path, capfd):
    path = write_clip(tmp_path / "a.mp4", film(), click(1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_audio(path), read_frames(path)
    assert capfd.readouterr() == ("", "")
