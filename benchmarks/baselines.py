"""Time an epoch of each baseline on a made-up feature file of CH-SIMS's size, with its settings for CH-SIMS.

    python benchmarks/baselines.py
    python benchmarks/baselines.py mult tfn --threads 2

The text encoder is frozen: what it would cost is in training.py. Beside each epoch stands how long its arithmetic
would take at the speed of a large matrix product: a limit that nothing can beat.
"""

import argparse
import tempfile
from pathlib import Path

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode
from training import SCHEME, Clock, make_features, show

from cmc.models import baselines
from cmc.training import dataset
from cmc.training.baseline import BaselineSettings, BaselineTraining

CONFIG = Path(__file__).parent.parent / "config.yaml"
SIDE, REPEATS = 2048, 4  # of the matrix product


def product_rate() -> float:
    """Multiplications and additions a CPU second of a large matrix product."""
    matrix = torch.rand(SIDE, SIDE)
    with Clock() as clock:
        for _ in range(REPEATS):
            matrix @ matrix
    return REPEATS * 2 * SIDE**3 / clock.cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(baselines.ARCHITECTURES), metavar="NAME")
    parser.add_argument("--scale", type=float, default=1.0, help="share of CH-SIMS's clips")
    parser.add_argument(
        "--batches", type=int, default=None, help="time so many alone; the rest is extrapolated"
    )
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.h5"
        make_features(path, args.scale)
        train, valid = (dataset.load(path, split) for split in ("train", "valid"))
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["baselines"]
    product_rate()  # warm
    rate = product_rate()
    for name in args.names:
        own = dict(settings[name])
        model, objective = own.pop("model"), own.get("objective")
        torch.manual_seed(1)
        network = baselines.build(name, train.widths, 1 if objective == "regression" else 3, model)
        chosen = BaselineSettings(**own | {"train_text_encoder": False})
        batches = dataset.shuffled(len(train), chosen.batch, 1, 1)[: args.batches]
        share = sum(map(len, batches)) / len(train)
        stage = BaselineTraining(network, chosen, train, valid, SCHEME, lambda _, found=batches: found)
        with FlopCounterMode(display=False) as counter:
            stage.train_epoch(1)
        with Clock() as training:
            stage.train_epoch(2)
        show(f"{name}, training", training, share)
        least = counter.get_total_flops() / rate
        print(f"  its arithmetic alone: {least / share:.1f} CPU s, {least / training.cpu:.0%} of that")
        with Clock() as validation:
            stage.validate(2)
        show(f"{name}, validation", validation)


if __name__ == "__main__":
    main()
