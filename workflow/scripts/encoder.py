import json
from pathlib import Path

import job

job.start(snakemake)

from cmc.features import hub

# `download` is no parameter of the rule: allowing it must not rerun what is already there
directory = hub.resolve(snakemake.params.encoder, snakemake.config["download"])
facts = {"encoder": snakemake.params.encoder, "sha256": hub.weights_sha256(directory)}
Path(snakemake.output[0]).write_text(json.dumps(facts, indent=1) + "\n")
