import job

job.start(snakemake)

from cmc import finetune

finetune.run(
    snakemake.input.features,
    snakemake.input.pretrained,
    snakemake.output.weights,
    model=snakemake.params.model,
    settings=snakemake.params.settings,
    device=job.device(snakemake.resources.device),
)
