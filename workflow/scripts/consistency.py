import logging

import job

job.start(snakemake)

from cmc.corpus import consistency
from cmc.features import store

with store.Reader(snakemake.input.features) as reader:
    clips, modalities = reader.table("clips"), reader.modalities
parts = consistency.split(clips[clips["split"] == "test"], snakemake.params.rule, modalities)
sizes = f"{len(parts['msc'])} clips in MSC, {len(parts['msi'])} in MSI"
logging.getLogger("cmc").info("%s", parts["reason"] or sizes)
consistency.write(parts, snakemake.output[0])
