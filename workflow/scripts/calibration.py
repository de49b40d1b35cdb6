import json
from pathlib import Path

import job

job.start(snakemake)

from cmc.corpus import consistency
from cmc.evaluation import calibration, statistics, tables
from cmc.labels import Scheme

source, result, variant = snakemake.input, snakemake.output, snakemake.params.variant
scores = [json.loads(Path(path).read_text()) for path in source.metrics]
test, validation = (
    statistics.read(paths, scores)[variant] for paths in (source.predictions, source.validation)
)
subsets = consistency.read(source.subsets)
table, bins = calibration.evaluate(test, validation, subsets, Scheme.of(scores[0]), variant)
for found, path in ((table, result.table), (bins, result.bins)):
    tables.write(found.round(4), path, digits=4)
