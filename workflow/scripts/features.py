import job

job.start(snakemake)

from cmc import extract

source = snakemake.input
extract.gather(
    source.manifest,
    source.quarantine,
    {"text": source.text, "audio": source.audio, "vision": source.vision},
    snakemake.output[0],
    float(snakemake.resources.max_share),
)
