import job

job.start(snakemake)

from cmc.features import guard

params = snakemake.params


def work(turn: guard.Turn) -> None:
    from cmc.corpus import transcripts
    from cmc.features import transcription

    # `download` is no parameter of the rule: allowing it must not rerun what is already there
    model = transcription.Transcriber(params.model, params.language, snakemake.config["download"])
    transcripts.write(snakemake.output[0], transcription.of_clips(model, params.recordings, turn), {})


limit = float(snakemake.resources.clip_time_limit)
# a model hears 30 s at once, however short the clip
guard.run(work, params.recordings, limit, shortest=30.0)
