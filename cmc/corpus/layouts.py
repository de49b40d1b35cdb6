"""Corpora of emotions by name as they are downloaded: their files read as rows of a label file.

Written from the public descriptions of these corpora, none of which was at hand.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cmc.corpus import manifest

Row = dict[str, str]


@dataclass(frozen=True)
class Layout:
    """How a corpus lies on the disk, and what its data set needs in the config.

    Attributes
    ----------
    name : str
    rows : callable
        Folder -> rows of its label file, none if the folder holds another corpus.
    config : tuple of str
        Lines of YAML: classes, and split where the corpus has none.
    source : str
        Where its files are described.
    """

    name: str
    rows: Callable[[Path], Iterator[Row]]
    config: tuple[str, ...]
    source: str


def recognised(folder: Path) -> tuple[Layout, list[Row]] | None:
    """The corpus that a folder holds, and its rows; None if it is none of these.

    Few videos that are called like a corpus's make none.
    """
    for layout in LAYOUTS:
        rows = list(layout.rows(folder))
        if rows and len(rows) >= FEWEST * len(manifest.videos(folder)):
            return layout, rows
    return None


FEWEST = 0.1  # share of a folder's videos: of RAVDESS as downloaded a quarter are films of speech with sound

MELD = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")  # columns


def meld(folder: Path) -> Iterator[Row]:
    """Rows of <split>_sent_emo.csv; videos are dia<Dialogue_ID>_utt<Utterance_ID>.mp4 in their split's folder."""
    tables = {mode: folder / f"{mode}_sent_emo.csv" for mode in ("train", "dev", "test")}
    if not any(path.is_file() for path in tables.values()):
        return
    places = {(mode_of(path.relative_to(folder)), path.stem): path for path in manifest.videos(folder)}
    for mode, table in tables.items():
        if not table.is_file():
            continue
        rows = csv.DictReader(io.StringIO(manifest.decoded(table), newline=""), restval="")
        if lacking := [name for name in MELD if name not in (rows.fieldnames or [])]:
            raise manifest.ManifestError(f"{table} lacks the column {lacking[0]} that MELD's tables have")
        for row in rows:
            dialogue, clip = f"dia{row['Dialogue_ID']}", f"utt{row['Utterance_ID']}"
            video = places.get((mode, f"{dialogue}_{clip}"))
            yield {
                "video_id": f"{mode}_{dialogue}",
                "clip_id": clip,
                # where it would be: the list of missing videos names it
                "path": inner(video, folder) if video else f"{mode}_splits/{dialogue}_{clip}.mp4",
                "text": row["Utterance"],
                "label": row["Emotion"],
                "mode": mode,
                "speaker": row["Speaker"],
            }


def mode_of(video: Path) -> str:
    """Split of a video in MELD's folder: train_splits, dev_splits_complete, output_repeated_splits_test."""
    names = " ".join(part.lower() for part in video.parent.parts[-2:])
    return next((mode for mode in ("train", "dev", "test") if mode in names), "")


UTTERANCE = re.compile(r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<clip>\S+)\t(?P<label>\w+)\t")
SAID = re.compile(r"(?P<clip>\S+) \[[\d.]+-[\d.]+\]: (?P<text>.*)")


def iemocap(folder: Path) -> Iterator[Row]:
    """Rows of Session*/dialog/EmoEvaluation/*.txt: parts of the dialogues' films, words of transcriptions."""
    for judged in sorted(folder.glob("Session*/dialog/EmoEvaluation/[!.]*.txt")):
        dialog = judged.parent.parent
        spoken = dialog / "transcriptions" / judged.name
        lines = manifest.decoded(spoken).splitlines() if spoken.is_file() else []
        texts = {match["clip"]: match["text"] for line in lines if (match := SAID.match(line))}
        for line in manifest.decoded(judged).splitlines():
            if not (match := UTTERANCE.match(line)):
                continue
            session, clip = dialog.parent.name, match["clip"]
            yield {
                "video_id": judged.stem,
                "clip_id": clip,
                "path": inner(dialog / "avi" / "DivX" / f"{judged.stem}.avi", folder),
                "start": match["start"],
                "end": match["end"],
                "text": texts.get(clip, ""),
                "label": match["label"],
                "session": session,
                "speaker": f"{session}_{clip.rpartition('_')[2][:1]}",
            }


STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
RAVDESS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
CODED = re.compile(
    r"01-01-(?P<emotion>\d\d)-\d\d-(?P<statement>\d\d)-\d\d-(?P<actor>\d\d)"
)  # films of speech


def ravdess(folder: Path) -> Iterator[Row]:
    """Films of speech (01-01-...): emotion, statement and actor are numbers in a file's name."""
    for path in manifest.videos(folder):
        match = CODED.fullmatch(path.stem)
        if match and match["emotion"] in RAVDESS and match["statement"] in STATEMENTS:
            yield {
                "video_id": f"Actor_{match['actor']}",
                "clip_id": path.stem,
                "path": inner(path, folder),
                "text": STATEMENTS[match["statement"]],
                "label": RAVDESS[match["emotion"]],
                "speaker": match["actor"],
            }


SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
ACTED = re.compile(r"(?P<actor>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_[A-Z]{1,2}")


def crema_d(folder: Path) -> Iterator[Row]:
    """Films such as VideoFlash/1001_DFA_ANG_XX.flv: actor, sentence and emotion are in a file's name."""
    for path in manifest.videos(folder):
        match = ACTED.fullmatch(path.stem)
        if match and match["sentence"] in SENTENCES:
            yield {
                "video_id": match["actor"],
                "clip_id": path.stem,
                "path": inner(path, folder),
                "text": SENTENCES[match["sentence"]],
                "label": match["emotion"],
                "speaker": match["actor"],
            }


def inner(path: Path, folder: Path) -> str:
    """A path as the label file has it, from the data set's folder on."""
    return path.relative_to(folder).as_posix()


LAYOUTS = (
    Layout(
        "MELD",
        meld,
        ("classes: [anger, disgust, fear, joy, neutral, sadness, surprise]",),
        "github.com/declare-lab/MELD",
    ),
    Layout(
        "IEMOCAP",
        iemocap,
        (
            "classes: {ang: angry, hap: happy, exc: happy, neu: neutral, sad: sad, fru: null, sur: null,"
            " fea: null, dis: null, oth: null, xxx: null}",
            "split: {by: session}",
            "features: {vision: {mediapipe: {speaker: active}}} # two people are in each picture",
        ),
        "sail.usc.edu/iemocap",
    ),
    Layout(
        "RAVDESS",
        ravdess,
        (f"classes: [{', '.join(sorted(RAVDESS.values()))}]", "split: {by: speaker, folds: 5}"),
        "zenodo.org/records/1188976",
    ),
    Layout(
        "CREMA-D",
        crema_d,
        (
            "classes: {ANG: anger, DIS: disgust, FEA: fear, HAP: happy, NEU: neutral, SAD: sad}",
            "split: {by: speaker, folds: 5}",
        ),
        "github.com/CheyneyComputerScience/CREMA-D",
    ),
)
