import logging

import job

job.start(snakemake)

from cmc.corpus import manifest

found = manifest.read(snakemake.input.labels, snakemake.params.label_range)
logging.getLogger("cmc").info("%d clips, %d rows refused", len(found.clips), len(found.refused))
manifest.write(found, snakemake.output.clips, snakemake.output.refused)
