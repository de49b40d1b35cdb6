import job

job.start(snakemake)

from cmc.corpus import transcripts

made = {clip: text for path in snakemake.input for clip, text in transcripts.read(path).items()}
out = snakemake.output[0]
transcripts.write(out, made, transcripts.corrected(out))
