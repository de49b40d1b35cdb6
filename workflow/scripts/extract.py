import job

job.start(snakemake)

from cmc.features import extract, extractors

params = snakemake.params
which, sources = params.extraction, params.sources
if which["modality"] != "text":
    from cmc.features import media

    sources = list(map(media.source, sources))
if said := snakemake.input.get("transcripts"):
    from cmc.corpus import transcripts

    texts = transcripts.read(said)
    sources = [text or texts[clip] for clip, text in zip(params.clips, sources, strict=True)]
with extractors.make(which["modality"], which["name"], **which["settings"]) as extractor:
    extract.shard(
        which["modality"],
        extractor,
        params.clips,
        sources,
        snakemake.output.features,
        snakemake.output.costs,
    )
