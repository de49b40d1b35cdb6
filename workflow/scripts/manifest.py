import logging
from dataclasses import replace

import job

job.start(snakemake)

from cmc.corpus import manifest, transcripts

source, params = snakemake.input, snakemake.params
found = manifest.read(source.labels, manifest.Rules(**params.rules))
if source.transcripts:
    said = transcripts.read(source.transcripts)
    found.clips = [clip if clip.text else replace(clip, text=said[clip.clip_id]) for clip in found.clips]
logging.getLogger("cmc").info("%d clips, %d rows refused", len(found.clips), len(found.refused))
manifest.write(found, snakemake.output.clips, snakemake.output.refused)
