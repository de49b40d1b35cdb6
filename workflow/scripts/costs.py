import json
from pathlib import Path

import job

job.start(snakemake)

import pandas as pd

from cmc import files

table = pd.DataFrame([json.loads(Path(path).read_text()) for path in snakemake.input])
with files.whole(snakemake.output[0]) as partial:
    table.to_csv(partial, index=False, lineterminator="\n")
