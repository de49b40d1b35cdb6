"""Cost of `cmc predict`: its start, a hundred clips against their features alone, a long recording in windows.

    snakemake results/demo/model
    python benchmarks/prediction.py                     # 100 clips of 4 s, 640x360
    python benchmarks/prediction.py --minutes 10        # one recording, --window 4 --hop 1

Clips are those of `extraction.py`. Each measurement is a process of its own, on all cores.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODEL = "results/demo/model"
COUNT, SECONDS = 100, 4.0
FEATURES = """
import sys
from pathlib import Path
import cmc
from cmc.corpus import requests
from cmc.prediction.extraction import Sample
model = cmc.load(sys.argv[1], device="cpu")
with model.extraction() as extraction:
    samples = list(extraction.samples(requests.gather([Path(sys.argv[2])])))
    extraction.add_text(samples)
"""
START = "import sys, cmc; cmc.load(sys.argv[1], device='cpu')"


def measured(name: str, *command: str) -> float:
    """Run a command; print and return its wall seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{name:<40} {wall:7.1f} s  CPU {cpu:7.1f} s  peak so far {after.ru_maxrss / 1e6:.2f} GB", flush=True
    )
    return wall


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--clips", type=Path, default=Path(tempfile.gettempdir()) / "cmc-clips")
    asked = parser.parse_args()
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import extraction

    predict = [sys.executable, "-c", "import sys; from cmc import cli; sys.exit(cli.main(sys.argv[1:]))"]
    predict += ["predict", "--model", MODEL, "--device", "cpu"]
    asked.clips.mkdir(parents=True, exist_ok=True)
    if asked.minutes:
        seconds = asked.minutes * 60
        [path] = extraction.make_long_clip(asked.clips, seconds)
        wall = measured(
            f"{asked.minutes:g} minutes in windows", *predict, str(path), "--window", "4", "--hop", "1"
        )
        print(f"{seconds / wall:.1f} times real time")
        return
    folder = asked.clips / "short"
    folder.mkdir(exist_ok=True)
    for path, clip in zip(extraction.make_clips(folder, COUNT, SECONDS), extraction.CLIPS, strict=False):
        path.with_suffix(".txt").write_text(clip.text)
    measured("start: import and load the model", sys.executable, "-c", START, MODEL)
    one = measured("one clip", *predict, str(path))
    features = measured(f"features of {COUNT} clips", sys.executable, "-c", FEATURES, MODEL, str(folder))
    rows = measured(f"rows of {COUNT} clips", *predict, str(folder))
    print(
        f"{(rows / features - 1):.1%} more than the features; {COUNT * SECONDS / rows:.1f} times real time,"
    )
    print(f"{(COUNT - 1) * SECONDS / (rows - one):.1f} after the start and the first clip")


if __name__ == "__main__":
    main()
