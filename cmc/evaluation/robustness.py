"""How much a model loses, and whom its router then trusts, when one modality is missing, noisy or full of gaps."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cmc import MODALITIES
from cmc.labels import Scheme
from cmc.metrics import FEWEST_CLIPS, evaluate, headline
from cmc.training import dataset
from cmc.training.dataset import Ragged, Split
from cmc.training.trained import TrainedModel

NOISE = (0.5, 1.0, 2.0)  # standard deviation, in that of the training clips
DROPPED = (0.25, 0.5, 0.75)  # share of frames or tokens
CLEAN, MISSING, NOISY, GAPS = "clean", "missing", "noise", "dropped"
Damage = tuple[str, str, float]  # modality, kind, level


def damages(modalities: Sequence[str]) -> Iterator[Damage]:
    """All that is done to a test split, nothing first."""
    yield "", CLEAN, 0.0
    for modality in modalities:
        if len(modalities) > 1:
            yield modality, MISSING, 1.0
        if modality != "text":  # whose features a finetuned language model makes anew
            yield from ((modality, NOISY, level) for level in NOISE)
        yield from ((modality, GAPS, level) for level in DROPPED)


def damaged(clips: Split, damage: Damage, spread: torch.Tensor | None, seed: int) -> Split:
    """A split with one modality damaged; the same seed gives the same damage.

    Parameters
    ----------
    clips : Split
    damage : (modality, kind, level)
    spread : Tensor (width,), optional
        Standard deviation of the modality's features over the training frames, for noise.
    seed : int
    """
    modality, kind, level = damage
    if kind == CLEAN:
        return clips
    features = dict(clips.features)
    if kind == MISSING:
        del features[modality]
        return replace(clips, features=features)
    rng = np.random.default_rng([seed, MODALITIES.index(modality)])
    own = features[modality]
    if kind == NOISY:
        assert spread is not None
        noise = torch.from_numpy(rng.standard_normal(own.values.shape, dtype=np.float32)).to(
            own.values.device
        )
        features[modality] = replace(own, values=own.values.float() + level * spread * noise)
        return replace(clips, features=features)
    tokens = clips.tokens if modality == "text" else None
    # padding, where it is not masked, is behind a clip's tokens
    real = tokens.offsets if tokens else own.offsets
    kept = remaining(real, level, rng, ends=modality == "text")
    rows = np.ones(own.offsets[-1], dtype=bool)
    rows[np.repeat(own.offsets[:-1] - real[:-1], np.diff(real)) + np.arange(real[-1])] = kept
    features[modality] = only(own, rows)
    tokens = only(tokens, kept) if tokens else clips.tokens
    return replace(clips, features=features, tokens=tokens)


def remaining(offsets: np.ndarray, share: float, rng: np.random.Generator, ends: bool) -> np.ndarray:
    """Which rows are left (rows,) bool if a share of each clip's is dropped: one at least, and with `ends` the
    first and the last, which are no words."""
    kept = np.zeros(offsets[-1], dtype=bool)
    for start, stop in pairwise(offsets):
        rows = np.arange(start, stop)
        fixed = rows[[0, -1]] if ends else rows[:0]
        loose = np.setdiff1d(rows, fixed)
        count = max(round((1 - share) * len(loose)), 0 if len(fixed) else 1)
        kept[fixed] = True
        kept[rng.choice(loose, size=min(count, len(loose)), replace=False)] = True
    return kept


def only(ragged: Ragged, kept: np.ndarray) -> Ragged:
    counts = np.concatenate([[0], np.cumsum(kept)])
    return Ragged(ragged.values[torch.from_numpy(kept).to(ragged.values.device)], counts[ragged.offsets])


def run(
    features: str | Path,
    pretrained: Sequence[str | Path],
    finetuned: Sequence[str | Path],
    device: str = "cpu",
) -> pd.DataFrame:
    """Scores of a variant's models, one a run, on the damaged test split.

    Parameters
    ----------
    features : path
    pretrained, finetuned : sequence of path
        Checkpoints of both stages, one a run and in the same order. The folds of a seed are scored together.
    device : str

    Returns
    -------
    DataFrame
        modality, damage, level (noise: its standard deviation in that of the training frames; dropped: share of
        the frames or tokens); metric (the headline one), mean and std over the seeds, percent, NaN of less than
        `FEWEST_CLIPS` clips; weight, the router's
        mean weight on the damaged modality, and of the others weight_{modality}. A model that can't do without a
        modality (fusion: concat) has no row of that.
    """
    found: dict[Damage, dict[int, list[pd.DataFrame]]] = {}
    scheme = Scheme()
    for before, after in zip(pretrained, finetuned, strict=True):
        model, _, facts = TrainedModel.load(before, after, device)
        recipe = facts["recipe"]
        scheme, fold, seed = Scheme.of(recipe), recipe["fold"], recipe["seed"]
        test = dataset.load(features, "test", device, recipe["mask_padding"], fold)
        spreads = spread_of(features, device, recipe["mask_padding"], fold)
        classes = test.classes("M").numpy()
        for damage in damages(model.dims.modalities):
            if damage[1] == MISSING and model.dims.fusion == "concat":
                continue
            said = model.consensus(damaged(test, damage, spreads.get(damage[0]), seed))
            own = pd.DataFrame(said.logits).assign(label=classes)
            own = own.assign(**{f"weight_{name}": weight for name, weight in said.router.items()})
            found.setdefault(damage, {}).setdefault(seed, []).append(own)
    metric, columns, table = headline(scheme), list(range(len(scheme.classes))), []
    for (modality, kind, level), parts in found.items():
        seeds = [pd.concat(folds, ignore_index=True) for folds in parts.values()]
        scores = pd.Series(
            evaluate(own[columns].to_numpy(), own["label"].to_numpy(), scheme)[metric]
            if len(own) >= FEWEST_CLIPS
            else np.nan
            for own in seeds
        )
        means = [own.filter(like="weight_").mean() for own in seeds]
        weights = pd.DataFrame(means).mean().to_dict()
        row: dict[str, object] = {"modality": modality, "damage": kind, "level": level, "metric": metric}
        row |= {"mean": 100 * scores.mean(), "std": 100 * scores.std(ddof=1)}
        table.append(row | {"weight": weights.get(f"weight_{modality}", np.nan), **weights})
    return pd.DataFrame(table)


def spread_of(
    features: str | Path, device: str, mask_padding: bool, fold: int | None
) -> dict[str, torch.Tensor]:
    """Standard deviation of each column of sound and pictures over the training frames."""
    train = dataset.load(features, "train", device, mask_padding, fold)
    return {
        modality: own.values.float().std(dim=0)
        for modality, own in train.features.items()
        if modality != "text"
    }
