import job

job.start(snakemake)

from cmc import MODALITIES
from cmc.features import extract

source = snakemake.input
extract.gather(
    source.manifest,
    source.quarantine,
    {modality: source[modality] for modality in MODALITIES if source[modality]},
    snakemake.output[0],
    float(snakemake.resources.max_share),
    snakemake.params.names,
)
