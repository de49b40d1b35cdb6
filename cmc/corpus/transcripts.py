"""The list of what was written down of clips that came without a text; people may correct it."""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from cmc.corpus.manifest import write_csv

COLUMNS = ["clip_id", "text", "checksum"]


def checksum(text: str) -> str:
    """Tells a transcript that was made from one that a person has corrected."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def rows(path: str | Path) -> Iterator[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, restval="")


def read(path: str | Path) -> dict[str, str]:
    """Clip -> its transcript; "" where nothing was heard."""
    return {row["clip_id"]: " ".join(row["text"].split()) for row in rows(path)}


def corrected(path: str | Path) -> dict[str, str]:
    """The same of those that were corrected by hand; {} if there is no list yet."""
    if not Path(path).is_file():
        return {}
    return {row["clip_id"]: row["text"] for row in rows(path) if checksum(row["text"]) != row["checksum"]}


def write(path: str | Path, made: Mapping[str, str], by_hand: Mapping[str, str]) -> None:
    """Write the list: what was made, but for what was corrected by hand."""
    write_csv(path, COLUMNS, [(clip, by_hand.get(clip, text), checksum(text)) for clip, text in made.items()])
