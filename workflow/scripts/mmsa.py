import job

job.start(snakemake)

from cmc.exchange import mmsa

mmsa.write(snakemake.input.features, snakemake.output[0])
