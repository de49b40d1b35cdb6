import job

job.start(snakemake)

from cmc.report import overview

overview.write(snakemake.output[0], snakemake.input.tables)
