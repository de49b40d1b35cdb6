import json
from pathlib import Path

import job

job.start(snakemake)

from cmc.evaluation import statistics, tables

source, params = snakemake.input, snakemake.params
scores = [json.loads(Path(path).read_text()) for path in source.metrics]
predictions = statistics.read(source.predictions, scores)
_, compared = statistics.of_table(predictions, scores, source.subsets, **params.resampling)
tables.write(compared, snakemake.output[0])
