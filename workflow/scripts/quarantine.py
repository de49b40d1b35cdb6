import job

job.start(snakemake)

from cmc import extract

source = snakemake.input
extract.list_refused(source.refused, [*source.text, *source.audio, *source.vision], snakemake.output[0])
