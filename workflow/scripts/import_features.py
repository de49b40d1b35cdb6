import job

job.start(snakemake)

from cmc import official
from cmc.features import hub

params, result = snakemake.params, snakemake.output
official.import_features(
    snakemake.input.file,
    result.features,
    result.quarantine,
    label_range=params.label_range,
    max_share=float(snakemake.resources.max_share),
    modalities=params.modalities,
    vocabulary=hub.vocabulary_size(params.encoder),
)
