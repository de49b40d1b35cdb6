import job

job.start(snakemake)

from cmc.evaluation import robustness, tables

source = snakemake.input
device = job.device(snakemake.resources.device)
tables.write(
    robustness.run(source.features, source.pretrained, source.finetuned, device), snakemake.output[0], 4
)
