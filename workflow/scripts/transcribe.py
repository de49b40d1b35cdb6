import logging

import job

job.start(snakemake)

from cmc.corpus import transcripts
from cmc.features import media, transcription
from cmc.features.contract import Unusable

params, log = snakemake.params, logging.getLogger("cmc")
# `download` is no parameter of the rule: allowing it must not rerun what is already there
model = transcription.Transcriber(params.model, params.language, snakemake.config["download"])
said = {}
for number, (clip, source) in enumerate(params.recordings.items(), start=1):
    try:
        segments = model.segments(media.source(source))
    except Unusable as reason:
        log.warning("%s can't be transcribed: %s", clip, reason)
        segments = []
    said[clip] = " ".join(segment.text for segment in segments)
    log.info("%d of %d clips", number, len(params.recordings))
transcripts.write(snakemake.output[0], said, {})
