"""What label file and folders tell of a data set before anything runs. Standard library alone: plans are quick."""

import importlib.util
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cmc import LABELS, SPLITS
from cmc.corpus import manifest
from cmc.corpus.manifest import Manifest, Rules

SHOWN = 5  # names or reasons in a message
Row = tuple[str, str]  # one that is refused: its clip, and why
# column -> what is told of those that are in several splits, and what to do
SHARED = {
    "video_id": ("Source videos in more than one split", "split by video"),
    "speaker": ("Speakers in more than one split", "split by speaker"),
}
# names of files that may be meant as a label file
LIKE_LABELS = re.compile(r"(label|meta).*\.(csv|tsv|txt|xlsx?|ods)", re.IGNORECASE)
LEAK = "What a model learns of a speaker or a scene in training may help it in the test"
SIGNS = {-1: "negative", 0: "neutral", 1: "positive"}
VARYING = re.compile(  # parts of a reason that differ from clip to clip: quoted texts, numbers, lines
    r"""(?<!\w)(?P<quote>['"]).*?(?P=quote)(?!\w)|(?<!\w)[-+]?\d+(\.\d+)?(e[-+]?\d+)?(?!\w)"""
)


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    level : {'error', 'warning', 'good'}
        Whether it keeps the data set from being run, should make one wary, or is as it should be.
    text : str
        With the value found and the way out; further lines are indented.
    """

    level: Literal["error", "warning", "good"]
    text: str


def corpus(
    found: Manifest,
    *,
    root: Path,
    rules: Rules,
    has0: str | None,
    max_share: float,
    unimodal_labels: bool | None = None,
    one_sided_labels: bool = False,
    where: Callable[[str], str] | None = None,
) -> list[Finding]:
    """Judge a label file and the videos beside it.

    Parameters
    ----------
    found : Manifest
        Of the label file.
    root : path
        The data set's folder.
    rules : Rules
        By which it was read.
    has0 : {"nonpositive_positive", "negative_nonnegative"} or None
        The two classes of the headline accuracy; None of emotions by name.
    max_share : float
        Of all clips, in [0, 1], that may be lost.
    unimodal_labels : bool, optional
        What the config says of them; None if it says nothing.
    one_sided_labels : bool
        Whether the config says that one of the two classes is absent on purpose.
    where : callable, optional
        Path of a clip's video, there or not; None if no extractor reads videos.

    Raises
    ------
    ManifestError
        If a video leads out of the data set's folder.
    """
    refused = [(clip, reason) for clip, stage, reason in found.refused if stage != manifest.LEFT_OUT]
    torn = [row for row in refused if row[1].startswith(manifest.TORN)]
    lost = [row for row in refused if not row[1].startswith(manifest.TORN)]
    absent = missing_videos(found, where) if where else {}
    total = len(found.clips) + len(lost)
    result = two_splits(torn)
    used = [clip for clip in found.clips if clip.clip_id not in absent]
    if len(lost) + len(absent) > max_share * total or not used:
        result.append(Finding("error", too_many(found, lost, absent, total, max_share, root, rules)))
    elif lost or absent:
        result.append(Finding("warning", few_lost(found, lost, absent, total, root)))
    if left := [reason for _, stage, reason in found.refused if stage == manifest.LEFT_OUT]:
        told = ", ".join(f"{count} clips ({reason})" for reason, count in Counter(left).most_common())
        result.append(Finding("good", f"left out: {told}"))
    if used:
        result += splits(used) if rules.by is None else divided(used, rules.by, found.clips)
        result += shared(used)
        result += (
            emotions(used, rules.spellings) if rules.spellings else classes(used, has0, one_sided_labels)
        )
        result += annotation(used, unimodal_labels)
    return result


# ------------------------------------------------------------------------------------------ the label file


def instead(root: Path) -> str:
    """What is where a label file is wanted, and the way out."""
    if not root.is_dir():
        return "that is no folder" if root.exists() else "there is no such folder"
    if near := [name for name in listed(root) if LIKE_LABELS.fullmatch(name)]:
        called = "call it" if near[0].lower().endswith(".csv") else "export it as CSV (UTF-8) and call it"
        return f"there is {near[0]}: if that is it, {called} {manifest.LABEL_FILES[0]}"
    return f"`cmc init {root}` writes one to fill in, from the videos in it"


def one_label_file(root: Path) -> list[Finding]:
    """Which label file is read, where there are two."""
    there = [name for name in manifest.LABEL_FILES if (root / name).is_file()]
    told = f"{' and '.join(there)} are both there: {there[0]} is read"
    return [Finding("warning", told)] * (len(there) > 1)


# ------------------------------------------------------------------------------------------ clips that are lost


def two_splits(torn: list[Row]) -> list[Finding]:
    """Clips that rows of two splits have. The order of rows must not say whether they train or test."""
    if not torn:
        return []
    have = "row has" if len(torn) == 1 else "rows have"
    line = (
        f"{len(torn)} {have} a clip that is in another split, too: say in which, and take the other row out"
    )
    return [Finding("error", "\n    ".join([line, *reasons(torn)]))]


def too_many(
    found: Manifest,
    lost: list[Row],
    absent: Mapping[str, str],
    total: int,
    max_share: float,
    root: Path,
    rules: Rules,
) -> str:
    """More clips than allowed can't be used: how many, why, and the way out."""
    lines = [
        f"{len(lost) + len(absent)} of {total} clips can't be used, more than the allowed share of {max_share:g}"
    ]
    lines += reasons(lost)
    lines += videos(absent, found, root)
    if names := named_labels(found, rules):
        shown = ", ".join(f"{name} ({count})" for name, count in names.most_common(SHOWN))
        lines.append(f"labels are names: {shown}{' ...' * (len(names) > SHOWN)}. {way_out(names, rules)}")
    lines.append("Mend the label file or the folder, or raise quarantine.max_share in the config")
    return "\n    ".join(lines)


def few_lost(found: Manifest, lost: list[Row], absent: Mapping[str, str], total: int, root: Path) -> str:
    """Some clips can't be used, no more than allowed."""
    lines = [f"{len(lost) + len(absent)} of {total} clips can't be used and will be left out"]
    return "\n    ".join([*lines, *reasons(lost), *videos(absent, found, root)])


def reasons(lost: list[Row]) -> list[str]:
    """Why rows are refused, the most frequent kind of reason first: its number, and the first clips of it."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    for clip, reason in lost:
        kinds[VARYING.sub("...", reason)].append((clip, reason))
    ordered = sorted(kinds.values(), key=len, reverse=True)
    lines = []
    for rows in ordered[:SHOWN]:
        named: dict[str, list[str]] = defaultdict(list)
        for clip, reason in rows[:SHOWN]:
            named[reason].append(clip)
        told = [f"{reason} ({', '.join(clips)})" for reason, clips in named.items()]
        told += [f"and {len(rows) - SHOWN} more"] * (len(rows) > SHOWN)
        lines += [f"{len(rows):6}  {told[0]}", *(f"        {more}" for more in told[1:])]
    return lines + [f"        and {len(ordered) - SHOWN} other reasons"] * (len(ordered) > SHOWN)


def named_labels(found: Manifest, rules: Rules) -> Counter[str]:
    """How often each label stands there that is a word and no number, or no class. A few words among numbers are
    slips and no names."""
    words = (
        re.match(r"label '(.*[^\W\d].*)' is no (number|class)", reason) for _, _, reason in found.refused
    )
    names = Counter(word[1] for word in words if word)
    few = 2 * names.total() < len(found.clips) + len(found.refused)
    return Counter() if few and rules.spellings is None else names


def way_out(names: Counter[str], rules: Rules) -> str:
    """What is said of labels that are names."""
    if rules.spellings is not None:
        known = ", ".join(sorted({name for name in rules.spellings.values() if name}))
        return (
            f"The classes are {known}: name these in datasets.<name>.classes, too, or what they are:"
            f" {{{next(iter(names))}: {known.split(', ')[0]}}}, or null to leave their clips out"
        )
    assert rules.label_range is not None
    low, high = rules.label_range
    return (
        f"The column label must hold a number of [{low:g}, {high:g}], less than 0 for negative, 0 for neutral,"
        " more for positive; or, of emotions by name, list them in datasets.<name>.classes, instead of label_range"
        f" and has0: classes: [{', '.join(sorted(names)[:SHOWN])}]"
    )


def missing_videos(found: Manifest, where: Callable[[str], str]) -> dict[str, str]:
    """Clips without a video -> where it was looked for."""
    paths = ((clip.clip_id, where(clip.clip_id)) for clip in found.clips)
    return {clip: path for clip, path in paths if not os.path.isfile(path)}


def videos(absent: Mapping[str, str], found: Manifest, root: Path) -> list[str]:
    """What is said of missing videos: how many, which first, and what lies there instead."""
    if not absent:
        return []
    first = next(clip for clip in found.clips if clip.clip_id in absent)
    lines = [f"{len(absent):6}  video is missing: {absent[first.clip_id]}"]
    lines += [
        f"        {hint}" for hint in (elsewhere(first.path, root) if first.path else hints(first, root))
    ]
    others = [clip for clip in absent if clip != first.clip_id]
    return [*lines, *[f"        missing, too: {some(others)}"] * bool(others)]


def elsewhere(path: str, root: Path) -> list[str]:
    """Where a video may lie instead of where the column path says."""
    if "\\" in path or re.match(r"[A-Za-z]:", path):
        return [f"path is {path!r}: write / between folders, and begin in the data set's folder"]
    folder, name = Path(root, path).parent, Path(path).name
    if not folder.is_dir():
        return [f"there is no folder {folder}: the column path begins in {root}"]
    near = listed(folder, Path(name).stem)
    if near := [entry for entry in near if Path(entry).suffix.lower() in manifest.EXTENSIONS]:
        return [f"there is {folder / near[0]}: write path as the file is called"]
    return [f"in {folder} there is {some(listed(folder))}"]


def hints(clip: manifest.Clip, root: Path) -> list[str]:
    """Where a clip's video may lie instead."""
    video, _, name = clip.clip_id.partition(manifest.SEPARATOR)
    raw, folder = Path(root, "Raw"), Path(root, "Raw", video)
    suffixes = "|".join(map(re.escape, manifest.EXTENSIONS))
    if not raw.is_dir():
        if near := [entry for entry in listed(root) if entry.casefold() == raw.name.casefold()]:
            return [f"there is {root / near[0]}: call it {raw.name}"]
        return [
            f"there is no folder {raw}: the videos of a data set lie in Raw/<video_id>/<clip_id>.mp4, or where the"
            " column path says"
        ]
    if Path(name).suffix.lower() in manifest.EXTENSIONS and listed(folder, Path(name).stem):
        return [f"clip_id is {name!r}: leave {Path(name).suffix} out of the label file's clip_ids"]
    zeros = [entry for entry in listed(folder) if Path(entry).stem.lstrip("0") == name.lstrip("0")]
    if zeros and not listed(folder, name):
        return [f"there is {folder / zeros[0]}: leading zeros are lost, as spreadsheet programs do"]
    if near := listed(folder, name):
        return [f"there is {folder / near[0]}: {unknown(near[0])}"]
    flat = re.compile(rf"({re.escape(video)}\W?_?)?\W?{re.escape(name)}({suffixes})", re.IGNORECASE)
    if near := [entry for entry in listed(raw) if flat.fullmatch(entry)]:
        return [
            f"there is {raw / near[0]}: move it to {folder / name}{Path(near[0]).suffix}, or give a column path"
        ]
    if folder.is_dir():
        return [f"in {folder} there is {some(listed(folder))}"]
    if same := [entry for entry in listed(raw) if entry.casefold() == video.casefold()]:
        return [f"there is {raw / same[0]}: write video_id as the folder is called"]
    return [f"in {raw} there is {some(listed(raw))}"]


def listed(folder: Path, stem: str | None = None) -> list[str]:
    """Names of what is in a folder, of one stem if told, whatever its case."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [name for name in names if stem is None or Path(name).stem.casefold() == stem.casefold()]


def some(names: list[str]) -> str:
    return (
        ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        or "nothing"
    )


def unknown(name: str) -> str:
    """Why a file that almost has the right name is not taken."""
    if Path(name).suffix.lower() in manifest.EXTENSIONS:
        return "write clip_id as the file is called"
    return f"its kind is not read; {' '.join(manifest.EXTENSIONS)} are"


# ------------------------------------------------------------------------------------------ labels and splits


def splits(used: list[manifest.Clip]) -> list[Finding]:
    """Clips of each split; one without any stops everything."""
    counts = Counter(clip.split for clip in used)
    told = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
    if empty := [split for split in SPLITS if not counts[split]]:
        return [
            Finding(
                "error",
                f"no usable clip in split {' or '.join(empty)} ({told}): mode must name it in some rows",
            )
        ]
    return [Finding("good", f"{len(used)} clips: {told}")]


def divided(used: list[manifest.Clip], by: str, clips: list[manifest.Clip]) -> list[Finding]:
    """Clips of each fold; one without usable ones stops everything."""
    counts = Counter(clip.split for clip in used)
    if empty := sorted({clip.split for clip in clips} - set(counts)):
        text = f"no clip of {some(empty)} can be used: take their rows ({by}) out of the label file, or mend them"
        return [Finding("error", text)]
    sizes = sorted(counts.values())
    told = f"{len(used)} clips in {len(counts)} folds by {by}, of {sizes[0]} to {sizes[-1]} clips"
    return [Finding("good", f"{told}: each is tested once, by models that were trained on the others")]


def shared(used: list[manifest.Clip]) -> list[Finding]:
    """Source videos and speakers whose clips are in several splits, or folds."""
    found = []
    for column, (what, advice) in SHARED.items():
        places: dict[str, set[str]] = defaultdict(set)
        for clip in used:
            places[getattr(clip, column)].add(clip.split)
        names = sorted(name for name, parts in places.items() if name and len(parts) > 1)
        if names:
            text = f"{what}: {len(names)} ({some(list(map(manifest.escaped, names)))}). {LEAK}: {advice}"
            found.append(Finding("warning", text))
    return found


def emotions(used: list[manifest.Clip], spellings: Mapping[str, str | None]) -> list[Finding]:
    """Clips of each emotion; of one alone nothing can be learned."""
    names = dict.fromkeys(name for name in spellings.values() if name)
    counts = Counter({name: 0 for name in names}) + Counter()
    counts.update(str(clip.label) for clip in used)
    told = ", ".join(f"{counts[name]} {name}" for name in names)
    if len(counts) < 2:
        return [Finding("error", f"all clips are of one class ({told}): nothing can be told apart")]
    found = [Finding("good", f"labels: {told}")]
    for split in dict.fromkeys(clip.split for clip in used):
        there = {clip.label for clip in used if clip.split == split}
        if absent := [name for name in names if name not in there]:
            found.append(Finding("warning", f"no clip in {split} is {some(absent)}"))
    return found


def classes(used: list[manifest.Clip], has0: str | None, one_sided: bool) -> list[Finding]:
    """Clips of each class; training labels on one side of the two-class reading would make every model perfect."""
    signs = Counter((clip.split, (float(clip.label) > 0) - (float(clip.label) < 0)) for clip in used)
    parts = {clip.split for clip in used}
    counts = {name: sum(signs[split, sign] for split in parts) for sign, name in SIGNS.items()}
    folded = not parts <= set(SPLITS)
    if folded:  # all are trained on
        signs = Counter({("train", sign): counts[name] for sign, name in SIGNS.items()})
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    found = [Finding("good", f"labels: {told}")]
    assert has0 is not None
    first_high = 1 if has0 == "nonpositive_positive" else 0
    for split in SPLITS:
        sides = {sign >= first_high for sign in SIGNS if signs[split, sign]}
        if len(sides) == 2 or not sides:
            continue
        lacking = has0.split("_")[0 if sides == {True} else 1].replace("non", "non-")
        if split != "train":
            found.append(Finding("warning", f"no {lacking} clip in {split}: its Acc-2 says little"))
            continue
        labels = [float(clip.label) for clip in used if folded or clip.split == split]
        least, most = min(labels), max(labels)
        told = ", ".join(f"{signs[split, sign]} {name}" for sign, name in SIGNS.items())
        text = (
            f"no {lacking} clip in {split} ({told}; labels from {least:g} to {most:g}): a constant answer is"
            " always right.\n"
            "    A label's sign is its class, with 0 for neutral. Shift other scales, 1 to 5 and classes 0 to 6 by"
            " -3, and label_range with them;\n"
            "    or set one_sided_labels: true for this data set, if it is meant"
        )
        return [*found, Finding("warning" if one_sided else "error", text)]
    absent = [name for name, count in counts.items() if not count]
    return found + [
        Finding("warning", f"no clip is {name}: no model can learn that class") for name in absent
    ]


def annotation(used: list[manifest.Clip], unimodal_labels: bool | None) -> list[Finding]:
    """What the label file says of text, audio and vision alone."""
    columns = [column for letter, column in LABELS.items() if letter != "M"]
    known = {column: sum(manifest.known(getattr(clip, column)) for clip in used) for column in columns}
    told = ", ".join(f"{count} {column}" for column, count in known.items())
    if unimodal_labels is False:
        text = (
            f"there are unimodal labels ({told}), but unimodal_labels: false leaves out the variants that learn"
            " from them (cmc_gt): take the setting out"
        )
        return [Finding("warning", text)] * (min(known.values()) == len(used))
    if min(known.values()) == len(used):
        return [Finding("good", f"unimodal labels: {told}")]
    return [
        Finding(
            "warning",
            f"of {len(used)} clips not all have unimodal labels ({told}): those without are neither MSC nor MSI,"
            " and tables leave out\n    variants that learn from such labels (cmc_gt), unless the data set lacks"
            " the modality",
        )
    ]


# ------------------------------------------------------------------------------------------ packages


def extras(needs: Iterable[tuple[str, Mapping[str, str]]]) -> list[Finding]:
    """Extractors whose optional packages are not installed.

    Parameters
    ----------
    needs : iterable of (str, mapping)
        Extractor, and of each package that it imports the command that installs it.
    """
    return [
        Finding(
            "error", f"the extractor {name} needs the package {package}, which is not installed: {command}"
        )
        for name, packages in needs
        for package, command in packages.items()
        if importlib.util.find_spec(package) is None
    ]
