"""The command `cmc`: what can be asked without a workflow's run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cmc import __version__
from cmc.code import PACKAGE
from cmc.corpus import manifest, skeleton
from cmc.planning import check, targets
from cmc.planning import config as configs
from cmc.planning.config import OWN, PlanError
from cmc.planning.data import DEMO, Data
from cmc.planning.variants import Variants

DEFAULTS = PACKAGE.parent / "config.yaml"
MARKS = {"error": "error", "warning": "warning", "good": "ok"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; that of this process by default.

    Returns
    -------
    int
        0: all is well; 1: a data set can't be run; 2: the command line or the config has a mistake, or a clip
        can't be read.
    """
    parser = argparse.ArgumentParser(prog="cmc", description="Calibrated Multimodal Consensus.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    checks = commands.add_parser(
        "check",
        help="say what is right and wrong with data sets, before anything runs",
        description="Reads label files, lists folders, looks for encoders and packages; opens no video.",
        epilog=f"Settings: config.yaml, over it {OWN} of this folder, over both the files of --configfile.",
    )
    checks.add_argument(
        "datasets", nargs="*", metavar="DATASET", help="of the config; all but the demo by default"
    )
    checks.add_argument(
        "--configfile", nargs="+", type=Path, default=[], metavar="FILE", help="settings of yours"
    )
    checks.set_defaults(run=lambda asked: checked(asked.datasets, asked.configfile))
    begins = commands.add_parser(
        "init",
        help="write a label file to be filled in, for a folder of videos",
        description="Finds the videos of a folder, whatever its layout, and writes label.csv with a row for each,"
        " a split in which no source video is in two parts, and the transcripts that lie beside them (.txt).",
    )
    begins.add_argument("folder", type=Path, metavar="FOLDER")
    begins.set_defaults(run=lambda asked: begun(asked.folder))
    add_predict(commands)
    asked = parser.parse_args(arguments)
    try:
        return asked.run(asked)
    except PlanError as mistake:
        print(mistake, file=sys.stderr)
        return 2


def add_predict(commands: Any) -> None:
    """The command `predict`; what it does is in `cmc.prediction`, which needs libraries that take seconds."""
    predict = commands.add_parser(
        "predict",
        help="read emotion in videos of your own, with a trained model",
        description="Writes a row a clip: class, calibrated probabilities, what text, voice and face say of their"
        " own, how they are weighed, who dissents, what is missing. Nothing is sent anywhere.",
        epilog="A clip's transcript is --text, a file beside it with the suffix .txt, or the column text of a"
        " table. Exit status: 0 if every clip was read, 2 if not; the others are read nevertheless.",
    )
    predict.add_argument(
        "clips",
        nargs="+",
        type=Path,
        metavar="CLIP",
        help="videos, folders of videos, or CSV tables with the columns path and perhaps text, start, end in s",
    )
    predict.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="directory of a trained model (`snakemake results/demo/model`), or its name on the Hugging Face hub",
    )
    predict.add_argument("--text", help="what is said in the one clip")
    predict.add_argument(
        "--out", type=Path, metavar="FILE", help="write to this file: .csv, .jsonl or .ndjson"
    )
    predict.add_argument(
        "--format",
        choices=["csv", "jsonl", "table"],
        help="by default what --out ends in, or table on a terminal, else csv",
    )
    predict.add_argument(
        "--transcribe",
        metavar="MODEL",
        help="write down what is said in clips without a transcript, with a Whisper model (directory or hub name)",
    )
    predict.add_argument("--language", metavar="L", help="what is spoken, for --transcribe: en, zh (guessed)")
    predict.add_argument(
        "--window", type=float, metavar="S", help="a row for every S seconds of a long recording"
    )
    predict.add_argument(
        "--hop",
        type=float,
        metavar="S",
        help="seconds from window to window (the window); what is left gets one more that ends with the recording",
    )
    predict.add_argument(
        "--overlay",
        type=Path,
        metavar="FILE.mp4",
        help="also write the one clip as a film with landmarks and readings over time (shows the face)",
    )
    predict.add_argument("--jobs", type=int, metavar="N", help="clips looked at at once (all cores)")
    predict.add_argument(
        "--device", default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:N"
    )
    predict.add_argument(
        "--text-encoder", metavar="PATH", help="where the model's text encoder lies on this machine"
    )
    predict.add_argument(
        "--download", action="store_true", help="let model and encoder be fetched from the Hugging Face hub"
    )
    predict.add_argument(
        "--other-versions",
        action="store_true",
        help="take features made by other versions of libraries than the model was trained on",
    )

    def run(asked: argparse.Namespace) -> int:
        from cmc.prediction import command

        return command.run(asked)

    predict.set_defaults(run=run)


def begun(folder: Path) -> int:
    """Write a label file for a folder of videos; 2 if none can be made."""
    try:
        found = skeleton.find(folder)
        path = folder.expanduser() / manifest.LABEL_FILES[0]
        skeleton.write(found, path)
    except (skeleton.SkeletonError, manifest.ManifestError) as mistake:
        print(f"cmc init: {mistake}", file=sys.stderr)
        return 2
    print(skeleton.told(found, path))
    return 0


def checked(datasets: Sequence[str], files: Sequence[Path]) -> int:
    """Print what is known of data sets; 1 if any can't be run."""
    config = read([DEFAULTS, *([OWN] if OWN.is_file() else []), *files])
    configs.check(config)
    data = Data(config)
    variants = Variants(config, data)
    for name in datasets:
        targets.check_dataset(name, config["datasets"])
    broken = False
    for name in datasets or [name for name in config["datasets"] if name != DEMO]:
        print(f"{name}")
        for finding in check.findings(config, data, variants, name):
            broken |= finding.level == "error"
            print(f"  {MARKS[finding.level]:<8}{finding.text.replace(chr(10), chr(10) + ' ' * 10)}")
    for finding in check.clips_to_read(config):
        broken = True
        print(f"{MARKS[finding.level]:<10}{finding.text}")
    return int(broken)


def read(paths: Sequence[Path]) -> dict[str, Any]:
    """Configs merged, later ones over earlier ones."""
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise PlanError(f"{path} can't be read: {error}") from None
        if repeated := configs.twice(path):
            raise PlanError(repeated)
        if not isinstance(content or {}, dict):
            raise PlanError(f"{path} holds no settings: expected `key: value` lines")
        merged = configs.merged(merged, content or {})
    return merged
