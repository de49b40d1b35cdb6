import job

job.start(snakemake)

from cmc.features import extract, extractors

params = snakemake.params
with extractors.make(params.modality, params.extractor, **params.settings) as extractor:
    extract.shard(
        params.modality,
        extractor,
        params.clips,
        params.sources,
        snakemake.output.features,
        snakemake.output.costs,
    )
