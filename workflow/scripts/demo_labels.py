import job

job.start(snakemake)

from cmc.demo import corpus

corpus.write_labels([corpus.Clip(**clip) for clip in snakemake.params.clips], snakemake.output[0])
