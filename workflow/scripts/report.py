import job

job.start(snakemake)

from cmc.report import page

source = snakemake.input
page.write(
    snakemake.output[0],
    dataset=snakemake.wildcards.dataset,
    variant=snakemake.params.variant,
    table=source.table,
    predictions=source.predictions,
    metrics=source.metrics,
    pretrained=source.pretrained,
    finetuned=source.finetuned,
    quarantine=source.quarantine,
    warned=source.warned,
)
