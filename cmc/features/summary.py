"""What is in a data set: its feature file and quarantine counted, per split."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import LABELS, MODALITIES, SPLITS, files
from cmc.corpus import consistency, folds
from cmc.corpus.manifest import LEFT_OUT
from cmc.features import store
from cmc.labels import Scheme, given

COLUMNS = ["section", "split", "name", "value"]
ALL = "all"  # the splits together
# what may be in several splits
SHARED = {"video_id": "source videos", "transcript": "transcripts", "speaker": "speakers"}
FRAMES = ("audio", "vision")  # modalities whose rows may hold nothing; a token always has a state
BLOCK = 1 << 14  # rows of a modality read at once
MOST_STEPS, BINS = 50, 20  # labels of more different values are counted in bins
DECIMALS = 4
SHOWN_ROWS = 100  # of a table on the page; the CSV has all
VARYING = re.compile(  # parts of a reason that differ from clip to clip: quoted texts, numbers
    r"""(?<!\w)(?P<quote>['"]).*?(?P=quote)(?!\w)|(?<!\w)[-+]?\d+(\.\d+)?(e[-+]?\d+)?(?!\w)"""
)

Row = tuple[str, str, str, object]  # section, split, name, value
Count = tuple[str, object]  # name, value


def write(
    table: pd.DataFrame, csv: str | Path, markdown: str | Path, dataset: str, concerns: Iterable[str]
) -> None:
    """Write the summary as CSV and as a page for people.

    Parameters
    ----------
    table : DataFrame
        See `summarise`.
    csv, markdown : path
        Files to write: the table, the page of `page`.
    dataset : str
        Name, for the page's title.
    concerns : iterable of str
        What should make one wary, a sentence or two each.
    """
    with files.whole(csv) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    files.write_text(markdown, page(table, dataset, concerns))


def summarise(
    reader: store.Reader, refused: pd.DataFrame, published: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """All counts of a data set in one long table.

    Parameters
    ----------
    reader : store.Reader
        Of the feature file.
    refused : DataFrame
        The quarantine: clip, stage, reason.
    published : mapping, optional
        Split -> clips that the data set's authors count.

    Returns
    -------
    DataFrame
        section, split (train, valid, test, or the folds; all), name, value, every field text. A value that can't
        be known is no row. By section:

        features       extractor, version, dimensions and rows a second of each modality; what the import of an
                       official feature file doubts
        clips          clips; source videos; seconds, to the end of the last audio or vision frame; clips that
                       are published, and the difference; quarantined: clips listed there and not used; left
                       out: those that the config does not want
        label_classes  clips of each class by each label, and those without the label: absent
        label_steps    clips of each value by each label; of 20 bins if there are more than 50 values
        agreement      share in [0, 1] of the clips with both labels whose classes are the same
        consistency    clips in MSC and MSI by each rule of `cmc.corpus.consistency`, and clips in neither
        no_subset      why clips are in neither
        lengths        of each modality, in tokens or frames
        nothing_found  share in [0, 1] of the frames in which nothing was found
        leakage        source videos, transcripts (whatever their case), and speakers where they are known, that
                       are in more than one split; their clips
        shared_videos, shared_speakers  clips of each such video and speaker
        quarantine     entries by stage and reason
    """
    clips, scheme = measured(reader), Scheme(reader.names)
    steps = label_steps(clips) if scheme.polar else None
    rows = [
        *recipes(reader),
        *each(clips, "clips", counts),
        *each(clips, "clips", lambda part: against(part, published or {})),
        *lost(refused, clips),
        *each(clips, "label_classes", lambda part: classes(part, scheme)),
        *(each(clips, "label_steps", lambda part: histogram(part, *steps)) if steps else ()),
        *each(clips, "agreement", lambda part: agreement(part, scheme)),
        *each(clips, "consistency", lambda part: subsets(part, scheme)),
        *each(clips, "no_subset", lambda part: no_subset(part, scheme)),
        *each(clips, "lengths", lengths),
        *each(clips, "nothing_found", nothing_found),
        *each(clips, "leakage", leakage),
        *each(clips, "shared_videos", lambda part: shared(part, "video_id")),
        *each(clips, "shared_speakers", lambda part: shared(part, "speaker")),
        *(("quarantine", ALL, name, count) for name, count in reasons(refused)),
    ]
    return pd.DataFrame([(*row[:3], shown(row[3])) for row in rows], columns=COLUMNS, dtype=str)


def each(
    clips: pd.DataFrame, section: str, count: Callable[[pd.DataFrame], Iterable[Count]]
) -> Iterator[Row]:
    """The rows of a section: what `count` finds in the clips of each split, and in all."""
    divided = [f"{folds.PREFIX}{number}" for number in folds.numbers(clips["split"])]
    for split in (*(divided or SPLITS), ALL):
        part = clips if split == ALL else clips[clips["split"] == split]
        if len(part):
            yield from ((section, split, name, value) for name, value in count(part))


def shown(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return str(value)


# ------------------------------------------------------------------------------------------ the clips, measured


def measured(reader: store.Reader) -> pd.DataFrame:
    """The table of clips with, per modality, its frames and the missing ones among them; its seconds, NaN where
    neither times nor a rate are known; its speaker, NaN likewise; and whether its source video, transcript and
    speaker are in several splits."""
    clips = reader.table("clips")
    clips["seconds"] = np.nan
    for modality in reader.modalities:
        offsets = reader.offsets(modality)
        clips[f"{modality} frames"] = np.diff(offsets)
        if modality in FRAMES:
            missing, times = scan(reader, modality, int(offsets[-1]))
            before = np.concatenate([[0], np.cumsum(missing)])
            clips[f"{modality} missing"] = np.diff(before[offsets])
            rate = reader.recipe(modality).rate or np.nan
            if times is None:
                ends = np.diff(offsets) / rate
            else:
                ends = times[offsets[1:] - 1] + np.nan_to_num(1 / rate)  # the last frame lasts, too
            clips["seconds"] = np.fmax(clips["seconds"], ends)
    transcripts = clips["text"].map(lambda text: " ".join(text.casefold().split()))
    clips["transcript"] = transcripts.where(transcripts != "")
    known = clips["speaker"] if "speaker" in clips else pd.Series("", clips.index)
    clips["speaker"] = known.where(known != "")
    for key in SHARED:
        clips[f"{key} shared"] = clips.groupby(key)["split"].transform("nunique") > 1
    return clips


def scan(reader: store.Reader, modality: str, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Whether each row (rows,) holds nothing, and its time if there are times."""
    missing, times = [], []
    for start in range(0, rows, BLOCK):
        block = reader.rows(modality, start, min(start + BLOCK, rows))
        missing.append(np.isnan(block.values).all(axis=1))
        times.append(block.times)
    return np.concatenate(missing), None if times[0] is None else np.concatenate(times)  # type: ignore[arg-type]


def recipes(reader: store.Reader) -> Iterator[Row]:
    for modality in reader.modalities:
        recipe = reader.recipe(modality)
        yield "features", ALL, f"{modality} extractor", recipe.extractor
        yield "features", ALL, f"{modality} version", recipe.version
        yield "features", ALL, f"{modality} dimensions", len(recipe.columns)
        if recipe.rate is not None:
            yield "features", ALL, f"{modality} rows a second", recipe.rate
        if "doubt" in recipe.settings:
            yield "features", ALL, f"{modality} doubt", recipe.settings["doubt"]


# ------------------------------------------------------------------------------------------ counts of some clips


def counts(part: pd.DataFrame) -> Iterator[Count]:
    yield "clips", len(part)
    yield "source videos", part["video_id"].nunique()
    if part["seconds"].notna().all():
        yield "seconds", float(part["seconds"].sum())


def lost(refused: pd.DataFrame, clips: pd.DataFrame) -> Iterator[Row]:
    """How many clips are in the quarantine and not used, and how many the config leaves out."""
    on_purpose = refused["stage"] == LEFT_OUT
    for name, part in {"quarantined": refused[~on_purpose], "left out": refused[on_purpose]}.items():
        count = len(set(part["clip_id"]) - set(clips["clip_id"]))
        if count or name == "quarantined":
            yield "clips", ALL, name, count


def against(part: pd.DataFrame, published: Mapping[str, int]) -> Iterator[Count]:
    """Clips of the splits in `part` as published, and how many more there are."""
    if set(part["split"]) <= set(published):
        expected = sum(published[split] for split in part["split"].unique())
        yield "published", expected
        yield "difference", len(part) - expected


def classes(part: pd.DataFrame, scheme: Scheme) -> Iterator[Count]:
    names = scheme.classes
    for label, column in LABELS.items():
        known = part.loc[given(part[column].to_numpy()), column]
        if len(known):
            numbers = np.bincount(scheme.numbers(known.to_numpy()), minlength=len(names))
            yield from ((f"{label} {name}", int(n)) for name, n in zip(names, numbers, strict=True))
        yield f"{label} absent", len(part) - len(known)


def label_steps(clips: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """The steps that all labels of a data set lie on, by name, and the edges (steps + 1,) around them."""
    values = clips[list(LABELS.values())].to_numpy().ravel()
    values = np.unique(values[~np.isnan(values)].round(DECIMALS)) + 0.0  # no -0
    if len(values) <= MOST_STEPS:
        between = (values[1:] + values[:-1]) / 2
        return [shown(v) for v in values], np.concatenate([[-np.inf], between, [np.inf]])
    reach = np.abs(values).max()
    edges = np.linspace(-reach, reach, BINS + 1)
    names = [f"{shown(low)} to {shown(high)}" for low, high in pairwise(edges)]
    edges[0], edges[-1] = -np.inf, np.inf  # the values were rounded
    return names, edges


def histogram(part: pd.DataFrame, names: list[str], edges: np.ndarray) -> Iterator[Count]:
    for label, column in LABELS.items():
        known = part[column].dropna()
        if len(known):
            places = np.searchsorted(edges, known.to_numpy(), side="right") - 1
            numbers = np.bincount(places, minlength=len(names))
            yield from ((f"{label} {name}", int(n)) for name, n in zip(names, numbers, strict=True))


def agreement(part: pd.DataFrame, scheme: Scheme) -> Iterator[Count]:
    for one, other in combinations(LABELS, 2):
        first, second = (part[LABELS[label]].to_numpy() for label in (one, other))
        both = given(first) & given(second)
        if both.any():
            same = scheme.numbers(first[both]) == scheme.numbers(second[both])
            yield f"{one} {other}", float(same.mean())


def rules(scheme: Scheme) -> tuple[consistency.Rule, ...]:
    """The rules of consistency that suit the labels."""
    return consistency.POLARITY_RULES if scheme.polar else ("same_class",)


def subsets(part: pd.DataFrame, scheme: Scheme) -> Iterator[Count]:
    for rule in rules(scheme):
        parts = consistency.split(part, rule, present(part), scheme)
        if parts["unlabelled"] < len(part):
            yield f"{rule} msc", len(parts["msc"])
            yield f"{rule} msi", len(parts["msi"])
    yield "in neither", parts["unlabelled"]  # by either rule


def no_subset(part: pd.DataFrame, scheme: Scheme) -> Iterator[Count]:
    reason = consistency.split(part, rules(scheme)[0], present(part), scheme)["reason"]  # of any rule
    if reason:
        yield "reason", reason


def present(part: pd.DataFrame) -> list[str]:
    """The modalities that were measured."""
    return [modality for modality in MODALITIES if f"{modality} frames" in part]


def lengths(part: pd.DataFrame) -> Iterator[Count]:
    for modality in present(part):
        frames = part[f"{modality} frames"].to_numpy()
        yield f"{modality} min", int(frames.min())
        yield f"{modality} median", float(np.median(frames))
        yield f"{modality} mean", float(frames.mean())
        yield f"{modality} 95 %", float(np.percentile(frames, 95))
        yield f"{modality} max", int(frames.max())


def nothing_found(part: pd.DataFrame) -> Iterator[Count]:
    for modality in [modality for modality in FRAMES if modality in present(part)]:
        yield modality, float(part[f"{modality} missing"].sum() / part[f"{modality} frames"].sum())


def leakage(part: pd.DataFrame) -> Iterator[Count]:
    for key, what in SHARED.items():
        if key != "speaker" or part["speaker"].notna().any():
            found = part.loc[part[f"{key} shared"], key]
            yield what, found.nunique()
            yield f"clips of these {what}", len(found)


def shared(part: pd.DataFrame, key: str) -> Iterator[Count]:
    """Clips of each source video, or speaker, in several splits."""
    yield from part.loc[part[f"{key} shared"], key].value_counts().sort_index().items()


def reasons(refused: pd.DataFrame) -> list[tuple[str, int]]:
    """Entries of the quarantine by stage and kind of reason, the most frequent first."""
    kinds = (refused["stage"] + ": " + refused["reason"].map(kind)).value_counts()
    return sorted(kinds.items(), key=lambda item: (-item[1], item[0]))


def kind(reason: str) -> str:
    """A reason without what differs from clip to clip: its details, quoted texts, numbers."""
    return " ".join(re.split(r"[:;] ", VARYING.sub("…", reason))[0].split())


# ------------------------------------------------------------------------------------------ for people


def page(table: pd.DataFrame, dataset: str, concerns: Iterable[str] = ()) -> str:
    """The table of `summarise` as Markdown, under what should make one wary."""
    sections = {
        "Clips": by_split(table, "clips"),
        "Features": crossed(table, "features"),
        "Labels by class": by_split(table, "label_classes"),
        "Labels by value, all clips": crossed(table, "label_steps"),
        "Share of clips whose labels are of one class, all clips": symmetric(crossed(table, "agreement")),
        "Consistency: clips in MSC and MSI": by_split(table, "consistency"),
        "Lengths, in tokens and frames": by_split(table, "lengths"),
        "Share of frames in which nothing was found": by_split(table, "nothing_found"),
        "In more than one split": by_split(table, "leakage"),
        "Source videos in more than one split: their clips": by_split(table, "shared_videos"),
        "Speakers in more than one split: their clips": by_split(table, "shared_speakers"),
        "Quarantine: entries by stage and reason": by_split(table, "quarantine"),
    }
    parts = [f"# {escaped(dataset)}", "\n".join(f"- **{escaped(concern)}**" for concern in concerns)]
    notes = table.loc[(table["section"] == "no_subset") & (table["split"] == ALL), "value"]
    for title, frame in sections.items():
        if len(frame):
            parts.append(f"## {title}\n\n{grid(frame)}")
        if title.startswith("Consistency"):
            parts += notes.map(escaped).tolist()
    return "\n\n".join(filter(None, parts)) + "\n"


def by_split(table: pd.DataFrame, section: str) -> pd.DataFrame:
    """A section's values, name x split."""
    return spread(table[table["section"] == section], "name", "split")


def crossed(table: pd.DataFrame, section: str) -> pd.DataFrame:
    """A section's values over all splits, with the first word of their names over the columns."""
    rows = table[(table["section"] == section) & (table["split"] == ALL)]
    words = rows["name"].str.split(" ", n=1, expand=True).reindex(columns=[0, 1])
    return spread(rows.assign(column=words[0], row=words[1]), "row", "column")


def spread(rows: pd.DataFrame, index: str, columns: str) -> pd.DataFrame:
    """Values by two columns, both in the order in which they come; "" where there is none."""
    wide = rows.pivot(index=index, columns=columns, values="value")
    return wide.reindex(index=rows[index].unique(), columns=rows[columns].unique()).fillna("")


def symmetric(half: pd.DataFrame) -> pd.DataFrame:
    """The whole matrix of agreement from the half above its diagonal."""
    names = [label for label in LABELS if label in half.columns or label in half.index]
    square = half.T.reindex(index=names, columns=names, fill_value="")
    return square.where(square != "", square.T).where(~np.eye(len(names), dtype=bool), "1")


def grid(frame: pd.DataFrame) -> str:
    """A table of text in Markdown, names to the left and values to the right."""
    shown = frame if len(frame) <= SHOWN_ROWS else frame.iloc[:SHOWN_ROWS]
    lines = [["", *shown.columns], ["---", *["---:"] * len(shown.columns)]]
    lines += [
        [escaped(name), *map(escaped, row)] for name, row in zip(shown.index, shown.values, strict=True)
    ]
    more = [f"\n{len(frame) - len(shown)} more are in the CSV file."] * (len(frame) > len(shown))
    return "\n".join([f"| {' | '.join(line)} |" for line in lines] + more)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line and within a table's cell."""
    # an underscore within a word is only that
    return re.sub(r"[\\|`*<>$\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", " ".join(text.split()))
