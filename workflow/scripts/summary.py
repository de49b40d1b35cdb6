import logging

import job

job.start(snakemake)

from cmc.corpus import quarantine
from cmc.evaluation import warnings
from cmc.features import extract, store, summary

source, result = snakemake.input, snakemake.output
with store.Reader(source.features) as reader:
    table = summary.summarise(reader, quarantine.read(source.quarantine), snakemake.params.published)
    used = reader.table("clips")["clip_id"]
quality = extract.read_quality(source.extraction, used) if source.extraction else None
found = warnings.of_data(table, quality)
for one in found:
    logging.getLogger("cmc").warning("%s", one)
warnings.write(found, result.warnings)
summary.write(table, result.csv, result.markdown, snakemake.wildcards.dataset, map(str, found))
