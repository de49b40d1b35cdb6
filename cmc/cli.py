"""The command `cmc`: what can be asked without a workflow's run."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cmc import __version__
from cmc.code import PACKAGE
from cmc.planning import check, targets
from cmc.planning import config as configs
from cmc.planning.config import PlanError
from cmc.planning.data import DEMO, Data
from cmc.planning.variants import Variants

DEFAULTS = PACKAGE.parent / "config.yaml"
OWN = Path("mine.yaml")  # in the folder where one works; Snakemake reads it, too
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
        0: all is well; 1: a data set can't be run; 2: the command line or the config has a mistake.
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
    asked = parser.parse_args(arguments)
    try:
        return checked(asked.datasets, asked.configfile)
    except PlanError as mistake:
        print(mistake, file=sys.stderr)
        return 2


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
    return int(broken)


def read(paths: Sequence[Path]) -> dict[str, Any]:
    """Configs merged, later ones over earlier ones."""
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise PlanError(f"{path} can't be read: {error}") from None
        if not isinstance(content or {}, dict):
            raise PlanError(f"{path} holds no settings: expected `key: value` lines")
        merged = configs.merged(merged, content or {})
    return merged
