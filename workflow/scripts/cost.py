import json

import job

job.start(snakemake)

from cmc import files
from cmc.evaluation import cost

source, params = snakemake.input, snakemake.params
device = job.device(snakemake.resources.device)
if "variant" in snakemake.wildcards.keys():
    name, arguments = (
        snakemake.wildcards.variant,
        (source.pretrained, source.finetuned, params.benchmarks, device),
    )
    rows = cost.of_variant(name, source.features, *arguments, unimodal=params.unimodal)
else:
    rows = cost.of_baseline(
        snakemake.wildcards.baseline, source.features, source.trained, params.benchmarks, device
    )
files.write_text(snakemake.output[0], json.dumps(rows, indent=1) + "\n")
