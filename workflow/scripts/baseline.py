import job

job.start(snakemake)

from cmc.training import baseline

baseline.run(
    snakemake.input.features,
    snakemake.output.weights,
    device=job.device(snakemake.resources.device),
    **snakemake.params.run,
    **snakemake.params.stage,
)
