import job

job.start(snakemake)

from cmc.evaluation import embeddings, tables

source = snakemake.input
device = job.device(snakemake.resources.device)
tables.write(
    embeddings.run(source.features, source.pretrained, source.finetuned, device), snakemake.output[0], 4
)
