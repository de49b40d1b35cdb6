import job

job.start(snakemake)

from pathlib import Path

from cmc.demo import corpus

corpus.render_video(
    [corpus.Clip(**clip) for clip in snakemake.params.clips], Path(snakemake.output[0]).parent
)
