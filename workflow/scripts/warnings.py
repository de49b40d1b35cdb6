import json
from pathlib import Path

import job

job.start(snakemake)

from cmc.evaluation import tables, warnings

source = snakemake.input
metrics = [json.loads(Path(path).read_text()) for path in source.metrics]
predictions = [tables.read_predictions(path) for path in source.predictions]
warnings.write([*warnings.read(source.data), *warnings.of_models(metrics, predictions)], snakemake.output[0])
