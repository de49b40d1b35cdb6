import job

job.start(snakemake)

from cmc.evaluation import baseline, tuning

source, result, params = snakemake.input, snakemake.output, snakemake.params
sources = list(source.sources)
if source.tuning:
    sources = [sources[params.points.index(tuning.chosen(source.tuning))]]
baseline.run(
    source.features,
    params.kind,
    sources,
    source.subsets,
    result.predictions,
    result.validation,
    result.metrics,
    name=snakemake.wildcards.dataset,
    variant=snakemake.wildcards.baseline,
    seed=int(snakemake.wildcards.seed),
    has0=params.has0,
    mask_padding=params.mask_padding,
    folds=params.folds,
    class_weights=params.class_weights,
    device=job.device(snakemake.resources.device),
)
