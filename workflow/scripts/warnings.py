import json
from pathlib import Path

import job

job.start(snakemake)

import pandas as pd

from cmc.evaluation import warnings

source = snakemake.input
metrics = [json.loads(Path(path).read_text()) for path in source.metrics]
predictions = [
    pd.read_csv(path, dtype={"clip_id": str}, keep_default_na=False) for path in source.predictions
]
warnings.write([*warnings.read(source.data), *warnings.of_models(metrics, predictions)], snakemake.output[0])
