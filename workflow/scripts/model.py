import job

job.start(snakemake)

from cmc.prediction import bundle

source, params = snakemake.input, snakemake.params
bundle.write(
    snakemake.output[0],
    name=snakemake.wildcards.dataset,
    variant=params.variant,
    features=source.features,
    pretrained=source.pretrained,
    finetuned=source.finetuned,
    table=source.table,
    extraction=params.extraction,
    device=job.device(snakemake.resources.device),
)
