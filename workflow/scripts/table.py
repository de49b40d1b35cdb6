import json
import sys
from pathlib import Path

import job

job.start(snakemake)

from cmc.evaluation import statistics, tables, warnings

source, params = snakemake.input, snakemake.params
scores = [json.loads(Path(path).read_text()) for path in source.metrics]
predictions = statistics.read(source.predictions, scores)
tested = statistics.of_table(predictions, scores, source.subsets, **params.resampling)
result = tables.table(scores, tables.published_values(), *tested)
tables.write(result, snakemake.output[0])
print(tables.show(result))
print(warnings.show(warnings.read(source.warnings)))
sys.stdout.flush()
