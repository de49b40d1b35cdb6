"""Small feature files whose labels can be learned, for tests of everything behind extraction."""

import numpy as np
import pandas as pd

from cmc.features import store
from cmc.features.contract import Features

WIDTHS = {"text": 6, "audio": 5, "vision": 4}
SPLITS = {"train": 24, "valid": 9, "test": 9}


def write_features(path, seed=0, splits=SPLITS, unimodal=True, missing_frames=False, widths=WIDTHS):
    """A feature file of clips whose first dimension follows their label, in every modality."""
    rng = np.random.default_rng(seed)
    split = np.repeat(list(splits), list(splits.values()))
    labels = np.arange(len(split)) % 3 - 1.0
    table = pd.DataFrame(
        {
            "clip_id": [f"v$_${i:04d}" for i in range(len(split))],
            "video_id": "v",
            "text": "t",
            "split": split,
            "label": labels,
            **{f"label_{letter}": labels if unimodal else np.nan for letter in "TAV"},
        }
    )
    with store.create(path) as out:
        for modality, width in widths.items():
            columns = [f"c{i}" for i in range(width)]
            out.modality(modality, store.Recipe("synthetic", "1", {}, columns, None))
            for label in labels:
                frames = int(rng.integers(2, 12))
                values = rng.normal(size=(frames, width)).astype(np.float32)
                values[:, 0] += 2 * label
                if missing_frames and modality == "vision" and frames > 3:
                    values[1] = np.nan
                ids = rng.integers(5, 30, frames).astype(np.int32) if modality == "text" else None
                out.append(modality, Features(values, token_ids=ids))
        out.finish(table)
    return path
