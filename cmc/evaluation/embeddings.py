"""Where a trained model puts the test clips: the vector of each modality, in two dimensions."""

from pathlib import Path

import pandas as pd
from sklearn.decomposition import PCA

from cmc.labels import Scheme
from cmc.training import dataset
from cmc.training.trained import TrainedModel

COLUMNS = ["modality", "clip_id", "class", "x", "y"]


def run(
    features: str | Path, pretrained: str | Path, finetuned: str | Path, device: str = "cpu"
) -> pd.DataFrame:
    """The embeddings h of the test clips of one run, on their two directions of most variance (PCA).

    Parameters
    ----------
    features, pretrained, finetuned : path
        Feature file, and the checkpoints of both stages.
    device : str

    Returns
    -------
    DataFrame
        modality, clip_id, class (its name), x, y. Of less than three clips no row.
    """
    model, _, facts = TrainedModel.load(pretrained, finetuned, device)
    recipe = facts["recipe"]
    scheme = Scheme.of(recipe)
    test = dataset.load(features, "test", device, recipe["mask_padding"], recipe["fold"])
    classes = [scheme.classes[number] for number in test.classes("M")]
    parts = [pd.DataFrame(columns=COLUMNS)]
    for modality, vectors in model.embeddings(test).items():
        if len(vectors) > 2:
            x, y = PCA(n_components=2, svd_solver="full").fit_transform(vectors).T
            own = {"clip_id": test.clips["clip_id"], "class": classes, "x": x, "y": y}
            parts.append(pd.DataFrame({"modality": modality, **own}))
    return pd.concat(parts[1:] or parts, ignore_index=True)[COLUMNS]
