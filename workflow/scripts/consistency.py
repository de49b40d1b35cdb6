import logging

import job

job.start(snakemake)

from cmc.corpus import consistency, folds
from cmc.features import store
from cmc.labels import Scheme

with store.Reader(snakemake.input.features) as reader:
    clips, modalities, scheme = reader.table("clips"), reader.modalities, Scheme(reader.names)
tested = clips if folds.numbers(clips["split"]) else clips[clips["split"] == "test"]
parts = consistency.split(tested, snakemake.params.rule, modalities, scheme)
sizes = f"{len(parts['msc'])} clips in MSC, {len(parts['msi'])} in MSI"
logging.getLogger("cmc").info("%s", parts["reason"] or sizes)
consistency.write(parts, snakemake.output[0])
