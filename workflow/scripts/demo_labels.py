import job

job.start(snakemake)

from cmc.demo import corpus  # noqa: E402

corpus.write_labels([corpus.Clip(**clip) for clip in snakemake.params.clips], snakemake.output[0])
