import job

job.start(snakemake)

from cmc.features import extract, extractors

params = snakemake.params
which, sources = params.extraction, params.sources
if any(isinstance(source, tuple) for source in sources):
    from cmc.features.media import Piece

    sources = [Piece(*source) if isinstance(source, tuple) else source for source in sources]
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
