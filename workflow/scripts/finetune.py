import job

job.start(snakemake)

from cmc.training import finetune

finetune.run(
    snakemake.input.features,
    snakemake.input.pretrained,
    snakemake.output.weights,
    device=job.device(snakemake.resources.device),
    **snakemake.params.stage,
)
