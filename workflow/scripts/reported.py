"""What the report and its pictures are made of, read from a job's input files."""

import os
from pathlib import Path

import pandas as pd

from cmc.corpus import consistency
from cmc.evaluation import tables
from cmc.features import store
from cmc.planning.data import Data, file_of
from cmc.report import clips, faces, page, provenance


def results(job):
    """The results of a data set, as far as pictures are drawn of them."""
    source = job.input
    found = page.gather(
        table=source.table,
        predictions=source.predictions,
        metrics=source.metrics,
        pretrained=source.pretrained,
        finetuned=source.finetuned,
        quarantine=source.quarantine,
        warned=source.warned,
    )
    folder = os.path.dirname(job.output[0])
    places = [f"{folder}/{name}.csv" for name in job.params.beside]
    beside, stale = page.beside(places, found.table, source.features)
    others = {table: beside.pop(table) for table in list(beside) if table in job.config["tables"]}
    experiments = {Path(path).stem: tables.read(path) for path in source.experiments}
    with store.Reader(source.features) as reader:
        known = reader.table("clips")
    return found._replace(others=others, stale=stale, experiments=experiments | beside, clips=known)


def explored(job, found, thumbnails):
    """The same with what the explorer shows of each test clip, and what stands beside the pictures."""
    source, name, folder = job.input, job.wildcards.dataset, os.path.dirname(job.output[0])
    tested = found.predictions[0]["clip_id"].tolist()
    data = Data(job.config)
    recorded = data.setting(name, "source") == "raw"
    sources = {clip: data.source(name, clip) for clip in tested} if recorded else {}
    links = {
        clip: clips.link(source, folder)
        for clip, source in sources.items()
        if os.path.exists(file_of(source))
    }
    return found._replace(
        subsets=consistency.read(source.subsets),
        quality=pd.read_csv(source.quality, dtype={"clip_id": str}) if source.quality else None,
        lines=clips.timelines(source.features, tested),
        links=links,
        faces=faces.of(sources) if thumbnails else {},
        provenance=provenance.told(source.provenance),
        summary=pd.read_csv(source.summary, dtype=str, keep_default_na=False),
    )
