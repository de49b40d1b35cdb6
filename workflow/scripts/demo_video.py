import job

job.start(snakemake)

from pathlib import Path  # noqa: E402

from cmc.demo import corpus  # noqa: E402

corpus.render_video(
    [corpus.Clip(**clip) for clip in snakemake.params.clips], Path(snakemake.output[0]).parent
)
