"""What a data set's extraction reads and writes: modalities, encoders, clips by shard, their videos or files."""

import os
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from cmc import files, hub
from cmc.code import checksum
from cmc.corpus import folds, manifest, requests
from cmc.corpus.manifest import Clip
from cmc.demo import corpus
from cmc.features import extractors
from cmc.labels import spelled
from cmc.planning.config import PlanError, merged

MODALITIES = list(extractors.EXTRACTORS)
Source = str | tuple[str, float, float]  # a transcript or file; or a recording, and seconds in it
RUN = r"(?:fold\d+-)?seed\d+"  # a run's folder, see `Data.runs`
DEMO = "demo"  # the data set that the workflow makes itself
UNTRACED = (
    "datasets",
    "download",
    "threads",
    "features",
    "predictions",
    "cross_dataset",
)  # of the config: no result depends on them as they stand


class Data:
    """The data sets of a checked config.

    Attributes
    ----------
    demo : list of corpus.Clip
        The clips of the demo, known before they are made.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        # each is asked for every job of a plan, and label files are read once
        for name in ("features_of", "manifest", "folds", "clips", "shards", "entries", "source"):
            setattr(self, name, lru_cache(maxsize=None)(getattr(self, name)))
        # clips share folders, and sound and pictures, inputs and params all ask for each clip's video
        self._realpath = lru_cache(maxsize=None)(os.path.realpath)

    @cached_property
    def demo(self) -> list[corpus.Clip]:
        return corpus.plan(**self._config["demo"])

    def of_source(self, source: str) -> str:
        """Regular expression of the data sets of a source, raw or features; it never matches if there are none."""
        return "|".join(d for d, own in self._config["datasets"].items() if own["source"] == source) or "(?!)"

    def setting(self, dataset: str, key: str, default: Any = None) -> Any:
        """A data set's own setting."""
        return self._config["datasets"][dataset].get(key, default)

    def root(self, dataset: str) -> Path:
        """The folder of a data set of videos; ~ is the user's home."""
        return Path(self.setting(dataset, "root")).expanduser()

    def features_file(self, dataset: str) -> Path:
        """The official feature file of a data set that has one."""
        return Path(self.setting(dataset, "features_file")).expanduser()

    # ------------------------------------------------------------------------------------------ modalities

    def features_of(self, dataset: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """Modality -> extractor and its settings, of the modalities that a data set has."""
        shared = {modality: self._config["features"][modality] for modality in MODALITIES}
        try:
            return extractors.chosen(merged(shared, self.setting(dataset, "features", {})))
        except ValueError as error:
            raise PlanError(f"The config has a mistake: data set {dataset}: {error}") from None

    def extracted(self, dataset: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """The same of those that are extracted here: none if an official feature file has them."""
        return self.features_of(dataset) if self.setting(dataset, "source") == "raw" else {}

    def traced(self, dataset: str) -> dict[str, Any]:
        """The config but for the other data sets, extractors that are not used, and what no result depends on."""
        shared = {key: value for key, value in self._config.items() if key not in UNTRACED}
        features = {"shards": self._config["features"]["shards"]} | {
            modality: {"extractor": name, **own} for modality, (name, own) in self.extracted(dataset).items()
        }
        return merged(shared, {"dataset": self._config["datasets"][dataset], "features": features})

    def encoders_of(self, dataset: str) -> dict[str, str]:
        """Modality -> the Hugging Face encoder that it takes, by name or directory, of those that take one."""
        return {"text": self.setting(dataset, "text_encoder")} | {
            modality: own[key]
            for modality, (name, own) in self.extracted(dataset).items()
            for key in marked(name, "encoder")
        }

    def encoder_files(self, dataset: str, modality: str) -> list[str]:
        """Files of an encoder that is a folder of the user's, who may replace them."""
        folder = Path(self.encoders_of(dataset)[modality]).expanduser()
        return sorted(map(str, hub.model_files(folder))) if folder.is_dir() else []

    def extraction(self, dataset: str, modality: str) -> dict[str, Any]:
        """What makes a modality's features, but for the clips: an extractor, as `extractors.make` takes it."""
        name, own = self.features_of(dataset)[modality]
        encoder = {"encoder": self.setting(dataset, "text_encoder")} if modality == "text" else {}
        return {"modality": modality, "name": name, "settings": encoder | own}

    def taken_along(self, dataset: str, modality: str) -> dict[str, Any]:
        """The same for use elsewhere: the text encoder is told apart, for it may lie in another place there."""
        name, own = self.features_of(dataset)[modality]
        return {"name": name, "settings": own}

    def code_of(self, dataset: str, modality: str) -> str:
        """Checksum of the code that an extraction runs, of extractors the chosen one's."""
        return checksum("features/extract", f"features/extractors/{self.features_of(dataset)[modality][0]}")

    # ------------------------------------------------------------------------------------------ clips

    def label_file(self, dataset: str) -> str:
        """Path of the label file."""
        if dataset == DEMO:
            return "results/demo/corpus/label.csv"
        if found := manifest.label_file(self.root(dataset)):
            return str(found)
        raise PlanError(f"The data set {dataset} has no label file in {self.root(dataset).resolve()}")

    def manifest(self, dataset: str) -> manifest.Manifest:
        """The clips and refused rows of a label file that lies on the disk; ManifestError if it can't be read."""
        return manifest.read(self.label_file(dataset), manifest.Rules(**self.rules(dataset)))

    def rules(self, dataset: str) -> dict[str, Any]:
        """What its label file must be like, as `manifest.Rules` takes it."""
        divided = self.setting(dataset, "split", {})
        return {
            "label_range": self.setting(dataset, "label_range"),
            "spellings": self.spellings(dataset),
            "transcribed": self.transcribed(dataset),
            "by": divided.get("by"),
            "folds": divided.get("folds"),
        }

    def class_names(self, dataset: str) -> list[str] | None:
        """The emotions that labels are, in the order of their classes; None of polarity."""
        classes = self.setting(dataset, "classes")
        if isinstance(classes, Mapping):
            return sorted({name for name in classes.values() if name is not None})
        return classes

    def spellings(self, dataset: str) -> dict[str, str | None] | None:
        """Label as it may be written, in lower case -> its class, None of clips that are left out."""
        classes, names = self.setting(dataset, "classes"), self.class_names(dataset)
        if names is None:
            return None
        written = classes if isinstance(classes, Mapping) else {}
        return {spelled(name): name for name in names} | {
            spelled(label): name for label, name in written.items()
        }

    def shared_as_mmsa(self, dataset: str) -> str:
        """The feature file that is exported for MMSA; PlanError if that program can't read its labels."""
        place = f"results/{dataset}/mmsa.pkl can't be made"
        if self.class_names(dataset) is not None:
            raise PlanError(f"{place}: MMSA reads sentiment as numbers, no emotions by name")
        if self.setting(dataset, "split"):
            raise PlanError(f"{place}: MMSA reads train, valid and test, no folds")
        return f"results/{dataset}/features.h5"

    def folds(self, dataset: str) -> list[int]:
        """The numbers of a data set's folds; none if its label file has splits."""
        if not self.setting(dataset, "split"):
            return []
        return folds.numbers(clip.split for clip in self.manifest(dataset).clips)

    def runs(self, dataset: str, seed: int | str) -> list[str]:
        """Names of the runs of a seed: itself, or one for each fold. They are folders."""
        return [f"fold{fold}-seed{seed}" for fold in self.folds(dataset)] or [f"seed{seed}"]

    def transcribed(self, dataset: str) -> bool:
        """Whether what is said in clips without a text is to be written down."""
        return bool(self.setting(dataset, "transcribe"))

    def transcripts(self, dataset: str) -> str | list[str]:
        """The list of what was written down; [] of a data set that has all texts."""
        return f"results/{dataset}/transcripts.csv" if self.transcribed(dataset) else []

    def transcript_files(self, dataset: str) -> list[str]:
        """Its parts, by shards of the clips."""
        return [
            f"results/{dataset}/shards/transcripts-{number}.csv" for number in self.shards(dataset, "audio")
        ]

    def recordings(self, dataset: str, shard: str) -> dict[str, Source]:
        """Clip -> what is to be transcribed of a shard: the clips without a text."""
        clips = self.shards(dataset, "audio")[shard]
        return {clip: self.source(dataset, clip) for clip in clips if not self.clips(dataset)[clip]}

    def recorded(self, dataset: str, shard: str) -> list[str]:
        """Their files, of those that exist."""
        found = map(file_of, self.recordings(dataset, shard).values())
        return [path for path in dict.fromkeys(found) if os.path.isfile(path)]

    def clips_read(self, dataset: str, name: str) -> list[str]:
        """Files of the clips that a data set's model is to read, by their name in the config, of those that exist.

        Raises
        ------
        PlanError
            There are none, the table of them can't be read, or the model reads no videos.
        """
        place = f"results/{dataset}/predictions/{name}"
        if not self.extracted(dataset):
            raise PlanError(
                f"{place} can't be made: {dataset} is trained on features that others extracted, so that its"
                " model reads no videos"
            )
        given = Path(self._config["predictions"][name]["path"]).expanduser()
        if not given.exists():
            raise PlanError(
                f"{place} can't be made: there is no {given.absolute()} (predictions.{name}.path)"
            )
        try:
            found = requests.gather([given])
        except requests.RequestError as error:
            raise PlanError(f"{place} can't be made: {error}") from None
        read = list(requests.files_of([given], found))
        for out in (f"{place}.csv", f"{place}.refused.csv"):
            if reason := files.fault(out, read):
                raise PlanError(f"predictions.{name}: {out} {reason}")
        return [file for file in dict.fromkeys(one.path for one in found) if os.path.isfile(file)]

    def annotated(self, dataset: str) -> bool:
        """Whether clips have the unimodal labels of all their modalities: the config does not deny it, and a label
        file has them; what an official feature file has is not known before it is read."""
        if not self.setting(dataset, "unimodal_labels", True):
            return False
        if dataset == DEMO or self.setting(dataset, "source") != "raw":
            return True
        columns = [f"label_{modality[0].upper()}" for modality in self.features_of(dataset)]
        return all(
            manifest.known(getattr(clip, column))
            for clip in self.manifest(dataset).clips
            for column in columns
        )

    def entries(self, dataset: str) -> dict[str, Clip]:
        """The usable clips of a label file that lies on the disk, by clip id."""
        return {clip.clip_id: clip for clip in self.manifest(dataset).clips}

    def clips(self, dataset: str) -> dict[str, str]:
        """Transcript of each usable clip of a data set's label file, by clip id."""
        if dataset == DEMO:  # known before the corpus is made
            return {f"{c.video_id}{manifest.SEPARATOR}{c.clip_id}": c.text for c in self.demo}
        return {name: clip.text for name, clip in self.entries(dataset).items()}

    def shards(self, dataset: str, modality: str) -> dict[str, list[str]]:
        """The clips of each shard, by its number."""
        size = self._config["features"]["shards"][modality]
        return {str(n): part for n, part in manifest.shards(list(self.clips(dataset)), size).items()}

    def shard_files(self, dataset: str, modality: str, suffix: str = ".h5") -> list[str]:
        """All shards of a modality, none if the data set lacks it."""
        if modality not in self.features_of(dataset):
            return []
        numbers = self.shards(dataset, modality)
        return [f"results/{dataset}/shards/{modality}-{number}{suffix}" for number in numbers]

    def cost_files(self, dataset: str) -> list[str]:
        """What the extraction of each shard of every modality cost."""
        return [path for modality in MODALITIES for path in self.shard_files(dataset, modality, ".costs.csv")]

    def quality_file(self, dataset: str) -> str | list[str]:
        """What extraction found out of each clip; [] of features that were not extracted here."""
        return f"results/{dataset}/extraction.csv" if self.setting(dataset, "source") == "raw" else []

    # ------------------------------------------------------------------------------------------ files of clips

    def folder_read(self, dataset: str, modality: str) -> Path | None:
        """Where an extractor finds files that another program wrote; None if it reads the videos."""
        name, own = self.features_of(dataset)[modality]
        reads = extractors.declared(name, "READS")
        if not reads:
            return None
        return Path(own["folder"]).expanduser() if own.get("folder") else self.root(dataset) / reads["folder"]

    def source(self, dataset: str, clip: str) -> Source:
        """Where a clip's video is, or would be; with start and end if it is a part of that."""
        root = self.root(dataset)
        if dataset == DEMO:
            return manifest.video_path(root, clip, self._realpath)
        entry = self.entries(dataset)[clip]
        path = manifest.recording(root, entry, self._realpath)
        return (path, entry.start, entry.end) if entry.cut else path

    def sources(self, dataset: str, modality: str, shard: str) -> list[Source]:
        """What an extractor reads of each clip of a shard: its transcript, or where its file is or would be."""
        clips = self.shards(dataset, modality)[shard]
        if modality == "text":
            return [self.clips(dataset)[clip] for clip in clips]
        folder = self.folder_read(dataset, modality)
        if folder is None:
            return [self.source(dataset, clip) for clip in clips]
        suffix = extractors.declared(self.features_of(dataset)[modality][0], "READS")["suffix"]
        return [str(manifest.clip_path(folder, clip, suffix)) for clip in clips]

    def inputs(self, dataset: str, modality: str, shard: str) -> list[str]:
        """Files that a shard of audio or vision needs: of the clips, those that exist; models.

        Videos of the demo need not be there yet.
        """
        found = [file_of(source) for source in self.sources(dataset, modality, shard)]
        made = dataset == DEMO and self.folder_read(dataset, modality) is None
        name, own = self.features_of(dataset)[modality]
        models = [own[key] for key in marked(name, "file") if own[key]]
        if marked(name, "encoder"):
            models.append(f"results/{dataset}/{modality}_encoder.json")
        # clips may be parts of one recording
        return [path for path in dict.fromkeys(found) if made or os.path.isfile(path)] + models


def parts_of(run: str) -> dict[str, int | None]:
    """Seed and fold (None of a data set without folds) of a run, by its name."""
    fold, _, seed = run.rpartition("-")
    return {"seed": int(seed.removeprefix("seed")), "fold": int(fold.removeprefix("fold")) if fold else None}


def file_of(source: Source) -> str:
    """The file of a clip, or the recording that it is a part of."""
    return source if isinstance(source, str) else source[0]


def marked(extractor: str, kind: str) -> list[str]:
    """The settings of an extractor that are of a format: `file` or `encoder`."""
    settings = extractors.declared(extractor, "SETTINGS")
    return [key for key, own in settings.items() if own.get("format") == kind]
