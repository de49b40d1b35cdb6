# The plan that all rules ask: a checked config, its data sets and variants.

import gc
import os
import shlex
import sys
from pathlib import Path

from snakemake.cli import get_argument_parser

from cmc import MODALITIES
from cmc.code import checksum as code
from cmc.planning import config as configs
from cmc.planning.data import RUN, Data, parts_of
from cmc.planning.grid import TUNED
from cmc.planning.variants import Variants, benchmarks

# A plan is millions of small objects that all stay: looking for garbage among them takes an eighth of its time.
gc.set_threshold(200_000, 20, 20)

# a job's own process has another command line; provenance tells this one
os.environ.setdefault("CMC_COMMAND", shlex.join(["snakemake", *sys.argv[1:]]))

# relative, so that moving the folder is no change
PACKAGE = Path(os.path.relpath(workflow.basedir)) / "cmc"

for path in workflow.configfiles if workflow.is_main_process else ():
    if repeated := configs.twice(path):
        raise configs.PlanError(repeated)
configs.check(config)
data = Data(config)
variants = Variants(config, data)
GRID = variants.grid.points
SEEDS = config["seeds"]
# what the user asked for
asked = get_argument_parser().parse_known_args(sys.argv[1:])[0]
wanted = asked.targets or []
# sorted: the order of keys is no setting
RESAMPLING = configs.merged(config["statistics"])

# As they are set. A job's `threads` are scaled down to the cores there are, and fewer of them sum in another order.
THREADS = {stage: str(number) for stage, number in config["threads"].items()}


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    variant=variants.pattern,
    table="|".join(config["tables"]),
    seed=r"\d+",
    run=RUN,
    shard=r"\d+",


def growing(amount):
    """A resource of which a job that failed gets more: for a cluster, where too little of it ends a job."""
    return lambda wildcards, attempt: amount * attempt
