import job

job.start(snakemake)

from cmc.prediction import export

source, params = snakemake.input, snakemake.params
export.write(
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
