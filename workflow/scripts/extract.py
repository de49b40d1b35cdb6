import job

job.start(snakemake)

from cmc.features import guard

params = snakemake.params
which, clips, sources = params.extraction, params.clips, params.sources
watched = {} if which["modality"] == "text" else dict(zip(clips, sources, strict=True))


def work(turn: guard.Turn) -> None:
    from cmc.corpus import transcripts
    from cmc.features import extract, extractors

    read = sources
    if watched:
        from cmc.features import media

        read = list(map(media.source, sources))
    if said := snakemake.input.get("transcripts"):
        texts = transcripts.read(said)
        read = [text or texts[clip] for clip, text in zip(clips, sources, strict=True)]
    with extractors.make(which["modality"], which["name"], **which["settings"]) as extractor:
        made = snakemake.output
        extract.shard(which["modality"], extractor, clips, read, made.features, made.costs, turn)


guard.run(work, watched, float(snakemake.resources.clip_time_limit))
