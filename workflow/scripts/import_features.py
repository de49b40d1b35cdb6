import json
from pathlib import Path

import job

job.start(snakemake)

from cmc.exchange import official

source, result = snakemake.input, snakemake.output
official.import_features(
    source.file,
    result.features,
    result.quarantine,
    label_range=snakemake.params.label_range,
    max_share=float(snakemake.resources.max_share),
    encoder=json.loads(Path(source.encoder).read_text()),
    modalities=snakemake.params.modalities,
    trained_by=snakemake.resources.trained_by.split(),
)
