import json
from pathlib import Path

import job

job.start(snakemake)

from cmc.features import hugging_face as text

# `download` is no parameter of the rule: allowing it must not rerun what is already there
directory = text.resolve(snakemake.params.encoder, snakemake.config["download"])
facts = {"encoder": snakemake.params.encoder, "sha256": text.weights_sha256(directory)}
Path(snakemake.output[0]).write_text(json.dumps(facts, indent=1) + "\n")
