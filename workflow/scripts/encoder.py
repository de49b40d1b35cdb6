import json

import job

job.start(snakemake)

from cmc import files, hub

# `download` is no parameter of the rule: allowing it must not rerun what is already there
download, is_text = snakemake.config["download"], snakemake.wildcards.modality == "text"
facts = hub.facts(snakemake.params.encoder, download, tokens=is_text)
files.write_text(snakemake.output[0], json.dumps(facts, indent=1) + "\n")
