import json
from pathlib import Path

import job

job.start(snakemake)

from cmc import files
from cmc.evaluation import cost

table = cost.table([row for path in snakemake.input for row in json.loads(Path(path).read_text())])
with files.whole(snakemake.output[0]) as partial:
    table.to_csv(partial, index=False, lineterminator="\n")
