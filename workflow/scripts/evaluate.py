import job

job.start(snakemake)

from cmc.evaluation import evaluate

source, result = snakemake.input, snakemake.output
evaluate.run(
    source.features,
    source.pretrained,
    source.finetuned,
    source.subsets,
    result.predictions,
    result.validation,
    result.metrics,
    name=snakemake.wildcards.dataset,
    variant=snakemake.wildcards.variant,
    device=job.device(snakemake.resources.device),
)
