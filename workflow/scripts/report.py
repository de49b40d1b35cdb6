import job

job.start(snakemake)

from cmc import report  # noqa: E402

source = snakemake.input
report.run(
    snakemake.wildcards.dataset,
    snakemake.params.variant,
    table=source.table,
    predictions=source.predictions,
    pretrained=source.pretrained,
    finetuned=source.finetuned,
    quarantine=source.quarantine,
    out=snakemake.output[0],
)
