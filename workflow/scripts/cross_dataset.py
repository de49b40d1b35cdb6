import json
from pathlib import Path

import job

job.start(snakemake)

import pandas as pd

from cmc.evaluation import cross, statistics, tables

source, params = snakemake.input, snakemake.params
each = 2 * len(params.seeds)  # files of a pair: trained there, trained elsewhere
runs, models, bounds, compared = [], [], [], []
for place in range(len(params.pairs)):
    own = slice(place * each, (place + 1) * each)
    runs.append([json.loads(Path(path).read_text()) for path in source.metrics[own]])
    predictions = statistics.read(source.predictions[own], runs[-1])
    found, tested = statistics.of_table(predictions, runs[-1], source.subsets[place], **params.resampling)
    models.append(list(predictions))
    bounds.append(found)
    compared.append(tested[tested["model"] == models[-1][1]])
parts = []
for pair, scores, own, *tested, distances in zip(
    params.pairs, runs, models, bounds, statistics.family(compared), source.distances, strict=True
):
    table = tables.table(scores, tables.published_values(), *tested)
    parts.append(cross.shown(table, pair, pd.read_csv(distances), own))
result = pd.concat(parts, ignore_index=True)
tables.write(result, snakemake.output[0])
print(tables.show(result), flush=True)
