import job

job.start(snakemake)

from cmc import extract

params = snakemake.params
with extract.extractor(params.modality, **params.settings) as extractor:
    extract.shard(
        params.modality,
        extractor,
        params.clips,
        params.sources,
        snakemake.output.features,
        snakemake.output.costs,
    )
