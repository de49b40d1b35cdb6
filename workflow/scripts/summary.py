import logging

import job

job.start(snakemake)

from cmc.corpus import quarantine
from cmc.evaluation import warnings
from cmc.features import extract, store, summary

source, result = snakemake.input, snakemake.output
with store.Reader(source.features) as reader:
    table = summary.summarise(reader, quarantine.read(source.quarantine), snakemake.params.published)
found = warnings.of_data(table, extract.read_quality(source.extraction) if source.extraction else None)
for one in found:
    logging.getLogger("cmc").warning("%s. %s", one.what, one.advice)
warnings.write(found, result.warnings)
concerns = [f"{one.what}. {one.advice}." for one in found]
summary.write(table, result.csv, result.markdown, snakemake.wildcards.dataset, concerns)
