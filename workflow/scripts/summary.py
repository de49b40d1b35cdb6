import job

job.start(snakemake)

from cmc.features import summary

result = snakemake.output
summary.write(
    snakemake.input.features,
    snakemake.input.quarantine,
    result.csv,
    result.markdown,
    dataset=snakemake.wildcards.dataset,
    published=snakemake.params.published,
)
