"""What should make one wary of a data set and its numbers: what was found, the limit, and the way out."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from cmc import SPLITS, files
from cmc.corpus import folds
from cmc.corpus.checks import LEAK, SHARED
from cmc.corpus.quarantine import printable
from cmc.evaluation import tables
from cmc.labels import Scheme
from cmc.metrics import FEWEST_CLIPS, HEADINGS, headline

# A clip is a bad one
SILENT = 0.95  # from this share of its sound on that is silent
CANCELLED = 0.1  # from this share of its sound on in which channels cancel each other
FACES = 0.5  # below this share of its frames with a face
FACE_PIXELS = 64  # below this height of its faces: landmarks of smaller ones are coarse, and many are missed
# and bad ones are told
SILENT_CLIPS = 0.01  # from this share of the clips on
FACE_CLIPS = 0.05
UNKNOWN = 0.02  # share of the tokens that the text encoder does not know; a right one has next to none
TEST_CLIPS = 30  # of fewer, an accuracy of 80 % may as well be one of 60 %
CLUSTERS = 15  # speakers or source videos; of fewer, a bootstrap over them is too sure of itself
SHOWN = 5  # names in a warning


@dataclass(frozen=True)
class Warned:
    """A warning.

    Attributes
    ----------
    where : str
        Part of the data, or model, that it is about.
    what : str
        What was found, for people.
    value, threshold : float
        What was measured, and from where on it is told; NaN where no number says it.
    advice : str
        The way out, or how to read the results.
    """

    where: str
    what: str
    value: float
    threshold: float
    advice: str

    def __str__(self) -> str:
        end = "" if self.what.endswith((".", "?", "!")) else "."
        return f"{self.what}{end} {self.advice}."


COLUMNS = [field.name for field in fields(Warned)]


def of_data(summary: pd.DataFrame, extraction: pd.DataFrame | None = None) -> list[Warned]:
    """Warnings that need no training.

    Parameters
    ----------
    summary : DataFrame
        See `cmc.features.summary.summarise`.
    extraction : DataFrame, optional
        A row a clip that is used, see `cmc.features.extract.list_quality`; None of features that were not
        extracted here.
    """
    found = [*doubts(summary), *few_clips(summary), *absent_classes(summary), *shared(summary)]
    found += published(summary)
    if extraction is not None:
        found += [*sound(extraction), *faces(extraction), *transcripts(extraction)]
    return found


def of_models(metrics: Sequence[Mapping], predictions: Sequence[pd.DataFrame]) -> list[Warned]:
    """Warnings about the models of a variant.

    Parameters
    ----------
    metrics : sequence of mapping
        One a seed, see `cmc.evaluation.evaluate.run`.
    predictions : sequence of DataFrame
        Test predictions, one a seed and in the same order.
    """
    clips = metrics[0]["models"][metrics[0]["variant"]]["test"]["n"]
    judged = [*chance(metrics), *never_predicted(metrics, predictions)] if clips >= FEWEST_CLIPS else []
    return [*small_subsets(metrics), *few_clusters(predictions), *judged, *signs(metrics)]


# ------------------------------------------------------------------------------------------ data


def section(summary: pd.DataFrame, name: str, split: str) -> dict[str, str]:
    rows = summary[(summary["section"] == name) & (summary["split"] == split)]
    return dict(zip(rows["name"], rows["value"], strict=True))


def doubts(summary: pd.DataFrame) -> Iterator[Warned]:
    """Token ids that can't be the text encoder's."""
    for name, text in section(summary, "features", "all").items():
        if name.endswith(" doubt"):
            advice = "Set text_encoder to the one that made the file's text"
            yield Warned(name.removesuffix(" doubt"), text, math.nan, math.nan, advice)


def splits(summary: pd.DataFrame) -> list[str]:
    """The data set's splits, or its folds."""
    known = summary.loc[(summary["section"] == "clips") & (summary["split"] != "all"), "split"].unique()
    return list(known) if folds.numbers(known) else list(SPLITS)


def few_clips(summary: pd.DataFrame) -> Iterator[Warned]:
    tested = "all" if folds.numbers(splits(summary)) else "test"
    count = int(section(summary, "clips", tested).get("clips", 0))
    if count < TEST_CLIPS:
        advice = "Take the numbers as a trial; compare no methods by them"
        yield Warned("test", f"Only {count} test clips", count, TEST_CLIPS, advice)


def absent_classes(summary: pd.DataFrame) -> Iterator[Warned]:
    parts = splits(summary)
    counts = {split: section(summary, "label_classes", split) for split in parts}
    labels = [name for name in section(summary, "label_classes", "all") if name.startswith("M ")]
    for name in (label.removeprefix("M ") for label in labels if label != "M absent"):
        absent = [split for split in parts if counts[split].get(f"M {name}") == "0"]
        if absent == parts:
            advice = "Its column in a confusion matrix stays empty; look at the labels"
            yield Warned("labels", f"No clip at all is {name}", 0, 1, advice)
            continue
        for split in absent:
            advice = (
                "No model can learn it" if split == "train" else f"Accuracies on {split} say nothing of it"
            )
            yield Warned(split, f"No clip in {split} is {name}", 0, 1, f"{advice}; look at labels and split")


def shared(summary: pd.DataFrame) -> Iterator[Warned]:
    """Source videos and speakers in several splits; `cmc check` says the same."""
    for where, column in {"shared_videos": "video_id", "shared_speakers": "speaker"}.items():
        if names := sorted(section(summary, where, "all")):
            what, advice = SHARED[column]
            text = f"{what}: {len(names)} ({some(names)})"
            yield Warned("splits", text, len(names), 0, f"{LEAK}: {advice}")


def published(summary: pd.DataFrame) -> Iterator[Warned]:
    lost = section(summary, "clips", "all").get("quarantined", "0")
    for split in SPLITS:
        counts = section(summary, "clips", split)
        if counts.get("difference", "0") != "0":
            text = (
                f"Clips in {split}: {counts['clips']}; published are {counts['published']}"
                f" (difference {counts['difference']})"
            )
            advice = f"The quarantine holds {lost}, of all splits; published numbers are of other clips"
            yield Warned(split, text, float(counts["clips"]), float(counts["published"]), advice)


def sound(extraction: pd.DataFrame) -> Iterator[Warned]:
    if "cancelled" in extraction:
        advice = "There the loudest channel was taken alone; look at how they were recorded"
        what = "have channels that cancel each other"
        yield from clips(
            "audio", what, extraction["cancelled"] >= CANCELLED, extraction, SILENT_CLIPS, advice
        )
    if "silence" not in extraction:
        return
    silent = (extraction["silence"] >= SILENT) | (extraction["voiced"] == 0)
    advice = "Look at their sound tracks, and at how the files were cut; a model can't hear anything there"
    yield from clips("audio", "have no or nearly no sound", silent, extraction, SILENT_CLIPS, advice)


def faces(extraction: pd.DataFrame) -> Iterator[Warned]:
    if "faces" in extraction:
        advice = "Crop the videos to the speaker, or take files that OpenFace wrote"
        what = f"show a face in less than {FACES:.0%} of their frames"
        yield from clips("vision", what, extraction["faces"] < FACES, extraction, FACE_CLIPS, advice)
    if "face_pixels" in extraction:
        advice = "Crop the videos to the speaker, or take larger ones; landmarks of small faces are coarse"
        what = f"show faces of less than {FACE_PIXELS} pixels"
        small = extraction["face_pixels"] < FACE_PIXELS
        yield from clips("vision", what, small, extraction, FACE_CLIPS, advice)


def transcripts(extraction: pd.DataFrame) -> Iterator[Warned]:
    share = extraction["unknown"].mean() if "unknown" in extraction else math.nan
    if share > UNKNOWN:
        worst = extraction.loc[extraction["unknown"].idxmax(), "clip_id"]
        yield Warned(
            "text",
            f"{share:.1%} of the tokens are unknown to the text encoder, most in {worst}",
            share,
            UNKNOWN,
            "Set text_encoder to one of the transcripts' language",
        )


def clips(
    where: str, what: str, bad: pd.Series, extraction: pd.DataFrame, limit: float, advice: str
) -> Iterator[Warned]:
    names = extraction.loc[bad, "clip_id"].tolist()
    if len(names) > limit * len(extraction):
        text = f"{len(names)} of {len(extraction)} clips {what}: {some(names)}"
        yield Warned(where, text, len(names) / len(extraction), limit, advice)


def some(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:SHOWN])) + f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)


# ------------------------------------------------------------------------------------------ models


def small_subsets(metrics: Sequence[Mapping]) -> Iterator[Warned]:
    for subset, scores in metrics[0]["models"][metrics[0]["variant"]].items():
        if subset != "test" and scores["n"] < FEWEST_CLIPS:
            advice = "Its percentages are not shown: each clip is worth more than ten points"
            text = f"Only {scores['n']} clips in {subset.upper()}"
            yield Warned(subset, text, scores["n"], FEWEST_CLIPS, advice)


def few_clusters(predictions: Sequence[pd.DataFrame]) -> Iterator[Warned]:
    """Speakers or source videos that intervals are drawn from: how many even ones would vary as much."""
    sizes = predictions[0]["cluster"].value_counts().to_numpy()
    count = round(float(sizes.sum() ** 2 / (sizes**2).sum()), 1)  # Kish 1965
    if count < CLUSTERS:
        advice = "Intervals and tests draw these; of so few, intervals are too narrow"
        uneven = f", so uneven that they count as {count:g}" if count < len(sizes) else ""
        text = f"Test clips are of only {len(sizes)} speakers or source videos{uneven}"
        yield Warned("test", text, count, CLUSTERS, advice)


def chance(metrics: Sequence[Mapping]) -> Iterator[Warned]:
    """Models that are no better than the most frequent training class."""
    metric = headline(Scheme.of(metrics[0]))
    baseline = mean(metrics, "majority", metric)
    for model in metrics[0]["models"]:
        if model != "majority" and (found := mean(metrics, model, metric)) <= baseline:
            text = f"{model} is at chance: {HEADINGS[metric]} {found:.1%}, the most frequent class {baseline:.1%}"
            advice = (
                "It has learned nothing that helps: look at its features, learning curves, number of clips"
            )
            yield Warned(model, text, found, baseline, advice)


def mean(metrics: Sequence[Mapping], model: str, metric: str) -> float:
    return float(np.mean([run["models"][model]["test"][metric] for run in metrics]))


def never_predicted(metrics: Sequence[Mapping], predictions: Sequence[pd.DataFrame]) -> Iterator[Warned]:
    """Classes that some test clips have and a model never gives, by seeds."""
    variant, count, scheme = metrics[0]["variant"], len(predictions), Scheme.of(metrics[0])
    logits = [tables.model_logits(one, variant, scheme) for one in predictions]
    for model in logits[0]:
        for number, name in enumerate(scheme.classes):
            if not (predictions[0]["class"] == number).any():
                continue
            seeds = sum(not (one[model].argmax(axis=1) == number).any() for one in logits)
            if seeds:
                suffers = "Acc-3 and its F1" if scheme.polar else "UAR and macro F1"
                text = f"{model} never says {name}, in {seeds} of {count} seeds"
                advice = f"{suffers} suffer: look at how many training clips have that class"
                yield Warned(model, text, seeds, 0, advice)


def signs(metrics: Sequence[Mapping]) -> Iterator[Warned]:
    """Failure signatures that worry in any seed."""
    for seeds in zip(*(run["signatures"] for run in metrics), strict=True):
        worrying = [one for one in seeds if one["worrying"]]
        if worrying:
            values = ", ".join(f"{one['value']:.2f}" for one in worrying)
            text = f"{worrying[0]['meaning']} {values}, in {len(worrying)} of {len(seeds)} seeds"
            worst = max(one["value"] for one in worrying)
            advice = "See the failure signatures in report.html"
            yield Warned(metrics[0]["variant"], text, worst, worrying[0]["threshold"], advice)


# ------------------------------------------------------------------------------------------ the list


def write(found: Iterable[Warned], path: str | Path) -> None:
    """Write the list as CSV, columns where, what, value, threshold, advice."""
    table = pd.DataFrame([astuple(one) for one in found], columns=COLUMNS)
    with files.whole(path) as partial:
        table.to_csv(partial, index=False, float_format="%.7g", lineterminator="\n")


def read(path: str | Path) -> list[Warned]:
    """Read what `write` wrote."""
    table = pd.read_csv(path, dtype={"where": str, "what": str, "advice": str}, keep_default_na=False)
    numbers = table[["value", "threshold"]].apply(pd.to_numeric, errors="coerce").astype(float)
    return [Warned(*row) for row in table.assign(**numbers).itertuples(index=False)]


def show(found: Sequence[Warned]) -> str:
    """The list as text for a terminal, "" if it is empty."""
    lines = [f"  - {one}" for one in found]
    heading = f"{len(lines)} warning{'s' * (len(lines) != 1)}:"
    return "\n".join([heading, *lines]) + "\n" if lines else ""
