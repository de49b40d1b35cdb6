import job

job.start(snakemake)

from cmc.training import pretrain

pretrain.run(
    snakemake.input.features,
    snakemake.output.weights,
    seed=int(snakemake.wildcards.seed),
    device=job.device(snakemake.resources.device),
    **snakemake.params.stage,
)
