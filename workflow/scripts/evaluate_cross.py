import job

job.start(snakemake)

from cmc.evaluation import cross, evaluate, tables

source, result, names = snakemake.input, snakemake.output, snakemake.wildcards
cross.check(source.trained_on, source.features)
tables.write(cross.distances(source.trained_on, source.features), result.distances, digits=3)
evaluate.run(
    source.features,
    source.pretrained,
    source.finetuned,
    source.subsets,
    result.predictions,
    result.validation,
    result.metrics,
    name=names.dataset,
    variant=f"from_{names.other}",
    device=job.device(snakemake.resources.device),
)
