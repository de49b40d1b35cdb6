"""A trained model as its users have it: it takes clips and gives a row of readings for each."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cmc.corpus import folds, requests
from cmc.corpus.requests import Request
from cmc.features import extractors, store
from cmc.features.contract import Features, Unusable
from cmc.features.transcription import Transcriber
from cmc.labels import Scheme
from cmc.prediction import bundle
from cmc.prediction.bundle import CONSENSUS, ModelError
from cmc.prediction.extraction import Extraction, Refused, Sample, spacing
from cmc.training import dataset, devices
from cmc.training.trained import Readings

log = logging.getLogger(__name__)
BATCH = 64  # clips that the networks read at once
QUALITY = ("faces", "face_pixels", "voiced", "silence", "tokens", "unknown")


class Model:
    """A trained model: all seeds of one variant, the extractors that it takes, its calibration. See `load`.

    Attributes
    ----------
    name, variant : str
        The data set and the variant that it was trained as.
    modalities : list of str
        Those that it reads.
    facts : dict
        All that its config.json says.
    classes : list of str
        That it tells apart: negative, neutral, positive; or emotions.
    """

    def __init__(
        self,
        directory: Path,
        *,
        device: str = "cpu",
        text_encoder: str | None = None,
        download: bool = False,
        other_versions: bool = False,
    ) -> None:
        self.facts = bundle.read(directory)
        self.name, self.variant = str(self.facts["name"]), str(self.facts["variant"])
        self.modalities = bundle.modalities(self.facts)
        self.scheme = Scheme.of(self.facts)
        self.classes = list(self.scheme.classes)
        self._device = device
        self._encoder = text_encoder or self.facts["text_encoder"]
        self._download, self._other_versions = download, other_versions
        self._recipes = {m: store.Recipe(**self.facts["recipes"][m]) for m in self.modalities}
        self._members = bundle.members(directory, self.facts, self._encoder, self._device)

    def __repr__(self) -> str:
        runs = ", ".join(self.facts["temperatures"])
        return (
            f"<cmc model {self.variant} of {self.name}: {', '.join(self.modalities)};"
            f" {', '.join(self.classes)}; {runs}>"
        )

    # -------------------------------------------------------------------------------------- clips

    def predict(
        self,
        clips: str | Path | Sequence[str | Path | Request],
        text: str | None = None,
        *,
        window: float | None = None,
        hop: float | None = None,
        jobs: int | None = None,
        transcribe: str | None = None,
    ) -> pd.DataFrame:
        """What the model reads in clips, a row each.

        Parameters
        ----------
        clips : path or sequence of paths
            Videos; folders, of which all videos are taken; or CSV tables with a column path and perhaps text,
            start and end (seconds). A transcript may lie beside its clip, with the suffix .txt.
        text : str, optional
            What is said in the one clip.
        window, hop : float, optional
            Seconds: a row for each window of a long recording, one every `hop` (default: `window`). What is left
            at the end, if more than 0.1 s, gets one more, which ends with the recording.
        jobs : int, optional
            Clips from which features are extracted at once; as many as there are cores by default.
        transcribe : str, optional
            A Whisper model, by directory or hub name, for clips without a transcript.

        Returns
        -------
        DataFrame
            clip, start, end (seconds); class; a column for each class (negative, neutral, positive; or emotions):
            calibrated probabilities, means over seeds; spread_{class}: their standard deviations; of each modality
            {modality}_class and
            {modality}_{class}, its own reading, and router_{modality}, its weight in the consensus;
            consistent: whether all modalities read the same class; dissents: those that read another one than
            the consensus; missing: modalities that the clip lacks, and why; quality figures, see docs/features.md;
            model, features: what made the row. `attrs["refused"]` holds (clip, reason) of clips that can't be
            read.

        Raises
        ------
        ModelError
            The model can't be used for this.
        RequestError
            No clips are given, or a text for several; window, hop or jobs are none.
        TranscriptionError
            The model that is to transcribe can't be used.
        Unusable
            The one clip can't be read. Of several, those that can't are logged and left out.
        """
        given = [clips] if isinstance(clips, str | Path | Request) else list(clips)
        rows, refused = [], []
        wanted = requests.gather(given, text)
        transcriber = Transcriber(transcribe, download=self._download) if transcribe else None
        for row in self.rows(wanted, window=window, hop=hop, jobs=jobs, transcriber=transcriber):
            if isinstance(row, Refused):
                refused.append((row.clip, row.reason))
            else:
                rows.append(row)
        if refused and len(wanted) == 1:
            raise Unusable(f"{refused[0][0]}: {refused[0][1]}")
        for clip, reason in refused:
            log.warning("%s can't be read: %s", clip, reason)
        found = pd.DataFrame(rows, columns=None if rows else self.columns)
        found.attrs["refused"] = refused
        return found

    def rows(
        self,
        wanted: Sequence[Request],
        *,
        window: float | None = None,
        hop: float | None = None,
        jobs: int | None = None,
        transcriber: Transcriber | None = None,
    ) -> Iterator["dict[str, Any] | Refused"]:
        """A row for each clip or window in turn, or why there is none; see `predict`. Memory does not grow with
        their number, nor with their length if there is a window. Mistakes are told at once, before the first."""
        extraction = self.extraction(jobs)
        hop = spacing(window, hop)
        return self._rows(
            extraction,
            extraction.samples(wanted, window, hop, transcriber),
            1 if window is None and len(wanted) == 1 else BATCH,
        )

    def _rows(
        self, extraction: Extraction, samples: Iterator[Sample | Refused], size: int
    ) -> Iterator["dict[str, Any] | Refused"]:
        with extraction:
            while batch := list(islice(samples, size)):
                yield from self._read_batch(batch, extraction)

    def extraction(self, jobs: int | None = None) -> Extraction:
        """What extracts the features that this model was trained on.

        Raises
        ------
        ModelError
            It was trained on features that came from elsewhere.
        """
        if absent := [m for m in self.modalities if m not in self.facts["extraction"]]:
            raise ModelError(
                f"{self.name} was trained on a file of features that others extracted ({', '.join(absent)}): it"
                " can read such files, with Model.read_features, but no videos"
            )
        return Extraction({m: self._maker(m) for m in self.modalities}, jobs)

    def _maker(self, modality: str) -> Callable[[], Any]:
        """Makes a modality's extractor, and refuses one that differs from what the model was trained on."""

        def make() -> Any:
            own = self.facts["extraction"][modality]
            settings = dict(own["settings"])
            if modality == "text":
                settings |= {"encoder": self._encoder, "download": self._download}
            try:
                made = extractors.make(modality, own["name"], **settings)
            except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
                raise ModelError(f"the model's {modality} extractor can't be had: {error}") from None
            if different := differences(self._recipes[modality], made, self._other_versions):
                raise ModelError(
                    f"the {modality} features that would be extracted here are not those that the model was"
                    f" trained on: {'; '.join(different)}"
                )
            return made

        return make

    # -------------------------------------------------------------------------------------- readings

    def read_features(self, path: str | Path, split: str = "test") -> pd.DataFrame:
        """What the model reads in a split of a feature file (features.h5), a row a clip as `predict` gives them.

        Raises
        ------
        ModelError
            Its features have other widths than the model's, or its clips are in folds: most of the model's members
            may have been trained on any of them.
        StoreError
            It is no feature file, see `cmc.features.store.Reader`.
        """
        with store.Reader(path) as reader:
            divided = folds.numbers(reader.table("clips")["split"])
        if divided:
            raise ModelError(
                f"{path} has folds, no {split} split, and any of its clips may have trained members of a model"
                " in folds: what each fold's model says of clips that it never saw is in"
                " results/<data set>/<variant>/seed<n>/predictions.csv"
            )
        lengths = None if self.facts["mask_padding"] else self.facts["lengths"]
        found = dataset.load(path, split, self._device, lengths is None)
        dims = self._members[0].dims
        if found.widths != dict(dims.features):
            raise ModelError(
                f"the model takes features of width {dict(dims.features)}; {path} has {found.widths}"
            )
        shown = self.shown([member.predict(found) for member in self._members])
        return pd.DataFrame({"clip": found.clips["clip_id"], **shown})

    def _read_batch(self, batch: list["Sample | Refused"], extraction: Extraction) -> Iterator[Any]:
        """Rows of some samples, in their order: those that have the same modalities are read together."""
        extraction.add_text([one for one in batch if isinstance(one, Sample)])
        found: dict[int, Any] = {}
        groups: dict[tuple[str, ...], list[tuple[int, Sample]]] = {}
        for place, one in enumerate(batch):
            if isinstance(one, Refused):
                found[place] = one
            elif not one.features:
                found[place] = Refused(
                    one.request.clip, "; ".join(f"{m}: {r}" for m, r in one.missing.items())
                )
            elif reason := self._unfit(one):
                found[place] = Refused(one.request.clip, reason)
            else:
                present = tuple(m for m in self.modalities if m in one.features)
                groups.setdefault(present, []).append((place, one))
        for present, samples in groups.items():
            shown = self.shown(self.readings([one.features for _, one in samples], present))
            for number, (place, one) in enumerate(samples):
                found[place] = self._row(one, {name: values[number] for name, values in shown.items()})
        yield from (found[place] for place in range(len(batch)))

    def _unfit(self, sample: Sample) -> str | None:
        """Why the networks can't take a sample, if they can't."""
        lengths = self.facts["lengths"]
        for modality, features in sample.features.items():
            if not self.facts["mask_padding"] and len(features.values) > lengths[modality]:
                return (
                    f"{modality} has {len(features.values)} frames, more than the {lengths[modality]} to which the"
                    " model's clips were padded: give it shorter clips, or windows"
                )
        if sample.missing and self._members[0].dims.fusion == "concat":
            return (
                f"a model with fusion: concat needs every modality; missing are {', '.join(sample.missing)}"
            )
        return None

    def readings(self, clips: Sequence[Mapping[str, Features]], present: Sequence[str]) -> list[Readings]:
        """What the model of each seed says of clips that have the same modalities."""
        table = pd.DataFrame({"clip_id": [str(number) for number in range(len(clips))]})
        features = {m: [clip[m] for clip in clips] for m in present}
        lengths = None if self.facts["mask_padding"] else self.facts["lengths"]
        split = dataset.assemble(table, features, self._recipes, lengths, self._device)
        return [member.predict(split) for member in self._members]

    def shown(self, found: Sequence[Readings]) -> dict[str, np.ndarray]:
        """Columns of readings by the seeds: calibrated probabilities, weights, and how they agree."""
        present, temperatures = list(found[0].router), list(self.facts["temperatures"].values())
        chances = {
            name: np.stack(
                [calibrated(logits, own[name]) for logits, own in zip(each, temperatures, strict=True)]
            )
            for name, each in {
                CONSENSUS: [one.logits for one in found],
                **{m: [one.unimodal[m] for one in found] for m in present},
            }.items()
        }
        means = {name: values.mean(axis=0) for name, values in chances.items()}
        classes = {name: values.argmax(axis=1) for name, values in means.items()}
        names = np.array(self.classes)
        columns: dict[str, np.ndarray] = {"class": names[classes[CONSENSUS]]}
        columns |= {name: means[CONSENSUS][:, i] for i, name in enumerate(self.classes)}
        seeds = len(found)
        spread = (
            chances[CONSENSUS].std(axis=0, ddof=1) if seeds > 1 else np.full_like(means[CONSENSUS], np.nan)
        )
        columns |= {f"spread_{name}": spread[:, i] for i, name in enumerate(self.classes)}
        count = len(means[CONSENSUS])
        for modality in self.modalities:
            here = modality in present
            columns[f"{modality}_class"] = names[classes[modality]] if here else np.full(count, "")
            for i, name in enumerate(self.classes):
                columns[f"{modality}_{name}"] = means[modality][:, i] if here else np.full(count, np.nan)
            weights = [one.router[modality] for one in found] if here else [np.full(count, np.nan)]
            columns[f"router_{modality}"] = np.mean(weights, axis=0)
        own = np.stack([classes[m] for m in present])
        columns["consistent"] = (own == own[0]).all(axis=0)
        columns["dissents"] = np.array(
            [" ".join(np.array(present)[own[:, n] != classes[CONSENSUS][n]]) for n in range(count)]
        )
        return columns

    def _row(self, sample: Sample, shown: Mapping[str, Any]) -> dict[str, Any]:
        start, end = sample.start, sample.end
        return {
            "clip": sample.request.clip,
            "start": start,
            "end": end if math.isfinite(end) else math.nan,
            **shown,
            "missing": "; ".join(f"{modality}: {reason}" for modality, reason in sample.missing.items()),
            **{name: sample.quality.get(name, math.nan) for name in QUALITY},
            "transcript": sample.text or "",
            "model": f"{self.name}/{self.variant}",
            "features": "; ".join(recipe.version for recipe in self._recipes.values()),
        }

    @property
    def columns(self) -> list[str]:
        """Names of the columns that `predict` gives."""
        readings = [
            name
            for m in self.modalities
            for name in (f"{m}_class", *(f"{m}_{c}" for c in self.classes), f"router_{m}")
        ]
        spreads = [f"spread_{name}" for name in self.classes]
        first = [
            "clip",
            "start",
            "end",
            "class",
            *self.classes,
            *spreads,
            *readings,
            "consistent",
            "dissents",
        ]
        return [*first, "missing", *QUALITY, "transcript", "model", "features"]


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (clips, classes) of logits at a temperature."""
    return torch.softmax(torch.from_numpy(logits).double() / temperature, dim=1).numpy()


def load(
    name: str | Path,
    *,
    device: str = "auto",
    text_encoder: str | None = None,
    download: bool = False,
    other_versions: bool = False,
) -> Model:
    """A trained model.

    Parameters
    ----------
    name : str or path
        Directory of a model (`snakemake results/<data set>/model` makes it), or its name on the Hugging Face
        hub.
    device : str
        auto (a GPU where there is one), cpu, cuda or cuda:N.
    text_encoder : str, optional
        Where the text encoder lies, if not where it was in training.
    download : bool
        Whether the model and its text encoder may be fetched from the hub; nothing else uses the network.
    other_versions : bool
        Whether features made by other versions of the extracting libraries will do.

    Raises
    ------
    ModelError
        It isn't here, is damaged, or of another version.
    DeviceError
        There is no such device.
    """
    device = devices.choose(device)
    directory = bundle.find(name, download)
    return Model(
        directory,
        device=device,
        text_encoder=text_encoder,
        download=download,
        other_versions=other_versions,
    )


def differences(trained: store.Recipe, made: Any, other_versions: bool) -> list[str]:
    """In what an extractor differs from the one that made the features a model was trained on."""
    trained_on: dict[str, Any] = {
        "extractor": trained.extractor,
        "dtype": trained.dtype,
        "rate": trained.rate,
    }
    here: dict[str, Any] = {"extractor": made.name, "dtype": made.dtype, "rate": made.rate}
    trained_on |= trained.settings
    here |= made.settings
    for side in (trained_on, here):
        side.pop("encoder", None)  # where it lies is no difference; model_sha256 says what it is
    found = [
        f"{name} {trained_on.get(name)} -> {here.get(name)}"
        for name in sorted({*trained_on, *here})
        if trained_on.get(name) != here.get(name)
    ]
    if list(trained.columns) != list(made.columns):
        found.append("other columns")
    if trained.version != made.version and not other_versions:
        found.append(
            f"{trained.version} -> {made.version} (install that version, or allow others with --other-versions)"
        )
    return found
