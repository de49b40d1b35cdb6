import json
from pathlib import Path

import job

job.start(snakemake)

import pandas as pd

from cmc.evaluation import cross, statistics, tables

source, params = snakemake.input, snakemake.params
each = 2 * len(params.seeds)  # files of a pair: trained elsewhere, trained there
parts = []
for place, pair in enumerate(params.pairs):
    own = slice(place * each, (place + 1) * each)
    scores = [json.loads(Path(path).read_text()) for path in source.metrics[own]]
    predictions = statistics.read(source.predictions[own], scores)
    tested = statistics.of_table(predictions, scores, source.subsets[place], **params.resampling)
    table = tables.table(scores, tables.published_values(), *tested)
    parts.append(cross.shown(table, pair, pd.read_csv(source.distances[place]), list(predictions)))
result = pd.concat(parts, ignore_index=True)
tables.write(result, snakemake.output[0])
print(tables.show(result), flush=True)
