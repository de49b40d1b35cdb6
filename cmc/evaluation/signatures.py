"""Failure signatures: measurable signs that a run of CMC went wrong, though its loss fell."""

import math
from collections.abc import Mapping, Sequence

from cmc.labels import Scheme
from cmc.metrics import FEWEST_CLIPS, HEADINGS, headline

TEXT_DOMINANCE = 0.7  # mean router weight: the other experts hardly have a say
SETTLED_EPOCH = 20  # pseudo labels ought to rest from here on
FLIP_LIMIT = 0.01  # share of hard labels flipped in an epoch
GAP_LIMIT = 25.0  # points of the headline metric between clips whose modalities agree and those whose don't


def measure(
    scores: Mapping, variant: str, pretraining: Sequence[Sequence[Mapping]], training_clips: int
) -> list[dict]:
    """The signatures of one run.

    Parameters
    ----------
    scores : mapping
        Of one seed, see `cmc.evaluation.tables.score`; and its label scheme's facts.
    variant : str
        Name of the multimodal model in `scores`.
    pretraining : sequence of sequence of mapping
        Stage 1's history, of each fold: an epoch's `epoch` and flips_{modality}, the share of hard labels that it
        changed.
    training_clips : int
        Clips whose labels could flip. Of fewer than `cmc.metrics.FEWEST_CLIPS` clips nothing is measured.

    Returns
    -------
    list of dict
        name, meaning, unit ('weight', 'share' or 'points'), value (None where it can't be measured, and
        `unknown` says why), threshold, worrying (value > threshold; None if unknown).
    """
    subsets, metric = scores["models"][variant], headline(Scheme.of(scores))
    fewest = min(subsets["msc"]["n"], subsets["msi"]["n"]) if "msc" in subsets else 0
    gap = 100 * (subsets["msc"][metric] - subsets["msi"][metric]) if fewest >= FEWEST_CLIPS else math.nan
    tested = subsets["test"]["n"]
    text = scores["router_weights"].get("text", math.nan) if tested >= FEWEST_CLIPS else math.nan
    flips = late_flips(pretraining) if training_clips >= FEWEST_CLIPS else math.nan
    return [
        signature(
            "text_dominance",
            "Text dominates the router: its mean weight",
            "weight",
            text,
            TEXT_DOMINANCE,
            "the model has no text" if tested >= FEWEST_CLIPS else f"{tested} test clips",
        ),
        signature(
            "late_flips",
            f"Pseudo labels still move after epoch {SETTLED_EPOCH}: largest share flipped in the last epoch",
            "share",
            flips,
            FLIP_LIMIT,
            f"stage 1 ended by epoch {SETTLED_EPOCH}"
            if training_clips >= FEWEST_CLIPS
            else f"{training_clips} training clips",
        ),
        signature(
            "consistency_gap",
            f"{HEADINGS[metric]} falls from MSC to MSI: points",
            "points",
            gap,
            GAP_LIMIT,
            f"{fewest} clips in the smaller of MSC and MSI" if fewest else "no MSC and MSI clips to compare",
        ),
    ]


def signature(name: str, meaning: str, unit: str, value: float, threshold: float, unknown: str) -> dict:
    known = math.isfinite(value)
    return {
        "name": name,
        "meaning": meaning,
        "unit": unit,
        "value": value if known else None,
        "unknown": None if known else unknown,
        "threshold": threshold,
        "worrying": value > threshold if known else None,
    }


def late_flips(pretraining: Sequence[Sequence[Mapping]]) -> float:
    """Largest share of any modality's labels flipped in the last epoch; NaN if that came before SETTLED_EPOCH."""
    last = [history[-1] for history in pretraining if history and history[-1]["epoch"] > SETTLED_EPOCH]
    flips = [value for epoch in last for key, value in epoch.items() if key.startswith("flips_")]
    return max(flips, default=math.nan)
