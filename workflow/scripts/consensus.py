import json
from pathlib import Path

import job

job.start(snakemake)

from cmc.corpus import consistency
from cmc.evaluation import consensus, statistics, tables
from cmc.features import extract
from cmc.labels import Scheme

source, result, params = snakemake.input, snakemake.output, snakemake.params
scores = [json.loads(Path(path).read_text()) for path in source.metrics]
scheme, subsets = Scheme.of(scores[0]), consistency.read(source.subsets)
predictions = statistics.read(source.predictions, scores)[params.variant]
histories = [json.loads(Path(path).with_suffix(".json").read_text())["history"] for path in source.pretrained]
quality = extract.read_quality(source.extraction, predictions[0]["clip_id"]) if source.extraction else None
found = {
    result.consensus: consensus.weights(predictions, subsets, scheme),
    result.pseudo_labels: consensus.pseudo_labels(histories),
    result.failures: consensus.failures(
        predictions, subsets, quality, scheme, params.variant, **params.resampling
    ),
}
for path, table in found.items():
    tables.write(table, path, digits=2 if path == result.failures else 4)
