import json
import sys
from pathlib import Path

import job

job.start(snakemake)

from cmc.evaluation import tables, warnings

metrics = [json.loads(Path(path).read_text()) for path in snakemake.input.metrics]
result = tables.table(metrics, tables.published_values())
tables.write(result, snakemake.output[0])
print(tables.show(result))
print(warnings.show(warnings.read(snakemake.input.warnings)))
sys.stdout.flush()
