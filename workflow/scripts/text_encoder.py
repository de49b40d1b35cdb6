import json

import job

job.start(snakemake)

from cmc import files
from cmc.features import text

# `download` is no parameter of the rule: allowing it must not rerun what is already there
facts = text.facts(snakemake.params.encoder, snakemake.config["download"])
files.write_text(snakemake.output[0], json.dumps(facts, indent=1) + "\n")
