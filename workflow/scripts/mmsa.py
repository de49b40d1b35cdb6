import job

job.start(snakemake)

from cmc import mmsa

mmsa.write(snakemake.input.features, snakemake.output[0])
