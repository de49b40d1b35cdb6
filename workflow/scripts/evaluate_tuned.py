import job

job.start(snakemake)

from cmc.evaluation import evaluate, tuning

source, result = snakemake.input, snakemake.output
place = snakemake.params.points.index(tuning.chosen(source.tuning))
evaluate.run(
    source.features,
    [source.pretrained[place]],
    [source.finetuned[place]],
    source.subsets,
    result.predictions,
    result.validation,
    result.metrics,
    name=snakemake.wildcards.dataset,
    variant=f"tuned_on_{snakemake.wildcards.split}",
    device=job.device(snakemake.resources.device),
)
