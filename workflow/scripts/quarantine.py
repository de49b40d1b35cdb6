import job

job.start(snakemake)

from cmc.features import extract

source, result = snakemake.input, snakemake.output
shards = [*source.text, *source.audio, *source.vision]
extract.list_refused(source.refused, shards, result.quarantine)
extract.list_quality(source.manifest, shards, source.costs, result.quality)
