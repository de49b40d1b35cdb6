# What extraction reads: encoders, clips by shard, their videos or files; an error with all that is missing.

from cmc.corpus import manifest
from cmc import hub


def encoders_of(dataset):
    """Modality -> the Hugging Face encoder that it takes, by name or directory, of those that take one."""
    return {"text": config["datasets"][dataset]["text_encoder"]} | {
        modality: own[key]
        for modality, (name, own) in extracted(dataset).items()
        for key in marked(name, "encoder")
    }


def marked(extractor, kind):
    """The settings of an extractor that are of a format: `file` or `encoder`."""
    settings = extractors.declared(extractor, "SETTINGS")
    return [key for key, own in settings.items() if own.get("format") == kind]


def demand(dataset):
    """Stop, before any job, with all that is missing for a data set."""
    own, missing = config["datasets"][dataset], []
    obtain = f"    {own['obtain']}.\n" if "obtain" in own else ""
    if own["source"] == "features" and not Path(own["features_file"]).is_file():
        missing.append(
            f"its feature file: looked for {Path(own['features_file']).resolve()}.\n"
            f"{obtain}    Put it there, or set datasets.{dataset}.features_file to where it is."
        )
    if (
        own["source"] == "raw"
        and dataset != "demo"
        and not manifest.label_file(own["root"])
    ):
        missing.append(
            f"its label file: looked for {' or '.join(manifest.LABEL_FILES)} in {Path(own['root']).resolve()},"
            f" beside Raw/<video>/<clip>.mp4.\n"
            f"{obtain}    Put it there, or set datasets.{dataset}.root to where it is."
        )
    encoders = {} if config["download"] else encoders_of(dataset)
    for modality, encoder in encoders.items():
        try:
            hub.resolve(encoder)
        except FileNotFoundError as error:
            place = (
                f"datasets.{dataset}.text_encoder"
                if modality == "text"
                else f"features.{modality}"
            )
            missing.append(f"its {modality} encoder ({place}): {error}")
    for modality, (name, _) in extracted(dataset).items():
        folder = folder_read(dataset, modality)
        if folder and not folder.is_dir():
            missing.append(
                f"the files that {name} reads: looked for {folder.resolve()}/<video>/<clip>."
                f"{extractors.declared(name, 'READS')['suffix'].lstrip('.')}.\n"
                f"    Put them there, or set features.{modality}.{name}.folder to where they are."
            )
    if missing:
        raise WorkflowError(
            f"The data set {dataset} can't be run; it lacks\n  - "
            + "\n  - ".join(missing)
        )


@lru_cache(maxsize=None)
def clips(dataset):
    """Transcript of each usable clip of a data set's label file, by clip id."""
    if dataset == "demo":  # known before the corpus is made
        return {f"{c.video_id}{manifest.SEPARATOR}{c.clip_id}": c.text for c in DEMO}
    demand(dataset)
    own = config["datasets"][dataset]
    try:
        found = manifest.read(manifest.label_file(own["root"]), own["label_range"])
    except manifest.ManifestError as error:
        raise WorkflowError(f"The data set {dataset} can't be run: {error}")
    return {clip.clip_id: clip.text for clip in found.clips}


@lru_cache(maxsize=None)
def shards(dataset, modality):
    """The clips of each shard, by its number."""
    parts = manifest.shards(
        list(clips(dataset)), config["features"]["shards"][modality]
    )
    return {str(number): part for number, part in parts.items()}


def clips_of(modality):
    """Function of wildcards: the clips of a shard."""
    return lambda w: shards(w.dataset, modality)[w.shard]


def folder_read(dataset, modality):
    """Where an extractor finds files that another program wrote; None if it reads the videos."""
    name, own = features_of(dataset)[modality]
    reads = extractors.declared(name, "READS")
    root = config["datasets"][dataset]["root"]
    return Path(own.get("folder") or Path(root, reads["folder"])) if reads else None


# asked once a plan: clips share folders, and sound and pictures, inputs and params all ask for each clip's video
realpath = lru_cache(maxsize=None)(os.path.realpath)


@lru_cache(maxsize=None)
def video_path(root, clip):
    return manifest.video_path(root, clip, realpath)


def sources_of(modality):
    """Function of wildcards: where what an extractor reads of each clip of a shard is, or would be."""

    def paths(wildcards):
        folder = folder_read(wildcards.dataset, modality)
        if folder is None:
            root = config["datasets"][wildcards.dataset]["root"]
            where = lambda clip: video_path(root, clip)
        else:
            name, _ = features_of(wildcards.dataset)[modality]
            suffix = extractors.declared(name, "READS")["suffix"]
            where = lambda clip: str(manifest.clip_path(folder, clip, suffix))
        return [where(clip) for clip in clips_of(modality)(wildcards)]

    return paths


def inputs_of(modality):
    """Function of wildcards: files that a shard needs: of the clips, those that exist; models.

    Videos of the demo need not be there yet.
    """

    def paths(wildcards):
        dataset, found = wildcards.dataset, sources_of(modality)(wildcards)
        made = dataset == "demo" and folder_read(dataset, modality) is None
        name, own = features_of(dataset)[modality]
        models = [own[key] for key in marked(name, "file") if own[key]]
        if marked(name, "encoder"):
            models.append(f"results/{dataset}/{modality}_encoder.json")
        return [path for path in found if made or os.path.isfile(path)] + models

    return paths


def code_of(modality):
    """Function of wildcards: checksum of the code that an extraction runs, of extractors the chosen one's."""
    return lambda w: code("features/extract", f"features/extractors/{features_of(w.dataset)[modality][0]}")


def extraction(modality, key):
    """Function of wildcards: the extractor of a modality (0) or its settings (1)."""
    return lambda w: features_of(w.dataset)[modality][key]


def shard_files(modality):
    """Function of wildcards: all shards of a modality, none if the data set lacks it."""

    def paths(wildcards):
        if modality not in features_of(wildcards.dataset):
            return []
        numbers = shards(wildcards.dataset, modality)
        return [
            f"results/{wildcards.dataset}/shards/{modality}-{number}.h5"
            for number in numbers
        ]

    return paths
