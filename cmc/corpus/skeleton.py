"""A label file to be filled in, for a folder of videos: what `cmc init` writes."""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cmc import SPLITS, files
from cmc.corpus import layouts, manifest
from cmc.corpus.checks import some
from cmc.corpus.layouts import Layout

COLUMNS = [
    "video_id",
    "clip_id",
    "path",
    "start",
    "end",
    "text",
    "label",
    "label_T",
    "label_A",
    "label_V",
    "mode",
]
KNOWN = ["video_id", "clip_id", "path", "start", "end", "text", "label", "mode", "session", "speaker"]
SHARES = {"test": 0.2, "valid": 0.2}  # of the clips; the rest trains
NUMBERED = re.compile(r"(.*[^\W_])[\W_]+\w*\d\w*")  # speaker-003: what is before the number
RAW = "Raw"


class SkeletonError(Exception):
    """No label file can be made; the message says why."""


@dataclass
class Skeleton:
    """Rows of a label file; `label` is empty, and so are `mode` and `text` where nothing tells them.

    Attributes
    ----------
    rows : list of dict
    splits : dict
        video_id -> its split; empty if there are fewer of them than splits.
    layout : Layout or None
        Of a corpus that is known, whose labels are filled in.
    alone : int
        Videos that neither a folder nor a number in their name joins with others: each is a source video.
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)
    layout: Layout | None = None
    alone: int = 0

    @property
    def columns(self) -> list[str]:
        """Columns of the label file."""
        if self.layout is None:
            return COLUMNS
        return [name for name in KNOWN if any(row.get(name) for row in self.rows)]


def find(folder: str | Path) -> Skeleton:
    """Rows for all videos of a folder and those below it.

    A corpus that `cmc.corpus.layouts` knows is read as its own files say. Of others,
    a video's folder is its video_id, so that whoever speaks there is in one split only; in a flat folder it is
    what stands before the number in the file's name. A transcript that lies beside a video (.txt) is its text.

    Raises
    ------
    SkeletonError
        There is no such folder, no video in it, or a transcript that can't be decoded.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise SkeletonError(f"{folder} is no folder")
    if known := layouts.recognised(folder):
        return Skeleton(rows=known[1], layout=known[0])
    paths = manifest.videos(folder)
    if not paths:
        raise SkeletonError(f"{folder} holds no video ({' '.join(manifest.EXTENSIONS)})")
    found, seen, unread = Skeleton(), Counter[tuple[str, str]](), []
    for path in paths:
        inner = path.relative_to(folder)
        parts = inner.parts[1:-1] if inner.parts[0] == RAW and len(inner.parts) > 1 else inner.parts[:-1]
        numbered = NUMBERED.fullmatch(inner.stem)
        found.alone += not (parts or numbered)
        video = plain("_".join(parts) or (numbered[1] if numbered else inner.stem))
        clip = plain(inner.stem)
        seen[video, clip] += 1
        if seen[video, clip] > 1:
            clip = f"{clip}-{seen[video, clip]}"
        try:
            text = manifest.transcript_beside(path) or ""
        except manifest.ManifestError:
            unread.append(inner.with_suffix(manifest.TRANSCRIPT).as_posix())
            continue
        found.rows.append(
            dict.fromkeys(COLUMNS, "")
            | {"video_id": video, "clip_id": clip, "path": inner.as_posix(), "text": text}
        )
    if unread:
        raise SkeletonError(
            f"transcripts in {folder} that are neither UTF-8 nor Chinese in GBK: {some(unread)}."
            " Save them as UTF-8"
        )
    found.splits = divided(row["video_id"] for row in found.rows)
    for row in found.rows:
        row["mode"] = found.splits.get(row["video_id"], "")
    return found


def plain(name: str) -> str:
    """A name as an id that label files can hold."""
    return re.sub(rf"[/\\{manifest.UNFIT}]|\$_\$", "_", name).strip(" .") or "_"


def divided(videos: Iterable[str]) -> dict[str, str]:
    """The split of each source video, whole: by a hash of its name, until a split has its share of the clips."""
    counts = Counter(videos)
    if len(counts) < len(SPLITS):
        return {}
    order = sorted(counts, key=lambda video: hashlib.sha256(video.encode()).digest())
    splits, total = {}, sum(counts.values())
    for split, share in SHARES.items():
        had = 0
        while order and (not had or had + counts[order[0]] / 2 <= share * total) and len(order) > 1:
            had += counts[order[0]]
            splits[order.pop(0)] = split
    return splits | dict.fromkeys(order, "train")


def write(found: Skeleton, path: Path) -> None:
    """Write the label file.

    Raises
    ------
    SkeletonError
        There is one, which may hold work; or the folder can't be written to.
    """
    if path.exists():
        raise SkeletonError(
            f"{path} is there already and may hold your labels; it was left as it is. To begin anew, move it away"
        )
    if reason := files.fault(path):
        raise SkeletonError(f"{path} {reason}")
    with files.whole(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, found.columns, restval="", lineterminator="\n")
        lines.writeheader()
        lines.writerows(found.rows)


def told(found: Skeleton, path: Path) -> str:
    """What was written and what is next, for people."""
    if found.layout:
        return told_known(found, found.layout, path)
    modes = Counter(row["mode"] for row in found.rows)
    texts = sum(bool(row["text"]) for row in found.rows)
    lines = [
        f"{path}: {len(found.rows)} clips of {len({row['video_id'] for row in found.rows})} source videos",
        f"  transcripts found: {texts}",
    ]
    if found.splits:
        lines.append(
            "  splits: "
            + ", ".join(f"{modes[split]} {split}" for split in SPLITS)
            + "; no source video is in two" * (not found.alone)
        )
    else:
        lines.append(
            f"  no split: that takes {len(SPLITS)} source videos, so that none is in two; fill in mode yourself"
        )
    if found.alone:
        lines.append(
            f"  {found.alone} videos are taken for a source video each: no folder or name tells what they are of."
            "\n  If one speaker is in several, write one video_id and one mode for them, or add a column speaker:"
            "\n  cmc check then tells who is in two splits, which makes results too good"
        )
    lines.append(
        "Next: fill in text and label (less than 0 is negative, more than 0 positive; or emotions by name, with"
        " classes: [...] instead of label_range and has0), and name the folder in mine.yaml:"
    )
    own = [
        "label_range: [-1, 1]",
        "has0: nonpositive_positive",
        "unimodal_labels: false # take this line out once label_T, label_A and label_V are filled in",
    ]
    return "\n".join([*lines, *config("mine", path.parent, own)])


def told_known(found: Skeleton, layout: Layout, path: Path) -> str:
    """The same of a corpus that is known."""
    counts = Counter(row["label"] for row in found.rows).most_common()
    own = [*layout.config, "unimodal_labels: false"]
    lines = [
        f"{path}: {len(found.rows)} clips of {layout.name}, read as {layout.source} describes it",
        f"  labels: {', '.join(f'{count} {manifest.escaped(label)}' for label, count in counts)}",
        *others(found, path.parent),
        "Next: name the folder in mine.yaml:",
    ]
    return "\n".join([*lines, *config(re.sub(r"\W", "", layout.name).lower(), path.parent, own)])


def config(name: str, folder: Path, own: Iterable[str]) -> list[str]:
    """Lines for mine.yaml, and what is next."""
    shared = [
        "source: raw",
        f"root: {folder.resolve().as_posix()}",
        "language: en",
        "text_encoder: bert-base-uncased",
    ]
    return [
        "  datasets:",
        f"    {name}:",
        *(f"      {line}" for line in (*shared, *own)),
        f"Then: cmc check {name}",
    ]


def others(found: Skeleton, folder: Path) -> list[str]:
    """What is said of videos that no row is of."""
    taken = {(folder / row["path"]).resolve() for row in found.rows}
    left = [path for path in manifest.videos(folder) if path.resolve() not in taken]
    if not left:
        return []
    return [f"  {len(left)} videos are none of its clips and left out: {left[0].relative_to(folder)}"]
