import json

import job

job.start(snakemake)

from cmc import files
from cmc.evaluation import cost

source = snakemake.input
found = cost.run(
    snakemake.wildcards.variant,
    source.features,
    source.pretrained,
    source.finetuned,
    snakemake.params.benchmarks,
    job.device(snakemake.resources.device),
)
files.write_text(snakemake.output[0], json.dumps(found, indent=1) + "\n")
