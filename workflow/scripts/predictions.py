import job

job.start(snakemake)

from cmc.prediction import command

command.predict(
    snakemake.input.model,
    rows_out=snakemake.output.rows,
    refused_out=snakemake.output.refused,
    jobs=snakemake.threads,
    device=job.device(snakemake.resources.device),
    text_encoder=snakemake.params.encoder,
    download=snakemake.config["download"],
    **snakemake.params.settings,
)
