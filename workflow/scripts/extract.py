import job

job.start(snakemake)

from cmc.features import extract, extractors

params = snakemake.params
which = params.extraction
with extractors.make(which["modality"], which["name"], **which["settings"]) as extractor:
    extract.shard(
        which["modality"],
        extractor,
        params.clips,
        params.sources,
        snakemake.output.features,
        snakemake.output.costs,
    )
