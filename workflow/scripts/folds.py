import json
from pathlib import Path

import job

job.start(snakemake)

from cmc.evaluation import tables

result = tables.by_fold([json.loads(Path(path).read_text()) for path in snakemake.input.metrics])
tables.write(result, snakemake.output[0])
print(tables.show(result), flush=True)
