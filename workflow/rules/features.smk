# From a label file and videos to one feature file: manifest, text encoder, extraction in shards, gather.
# Or, for a data set of `source: features`, from an official feature file.


# A gate that changes no result: as a resource it reruns nothing. Resources are whole numbers or text.
MAX_SHARE = str(config["quarantine"]["max_share"])


def of_source(source):
    """Wildcard pattern of the data sets of a source; one that never matches if there are none."""
    return (
        "|".join(d for d, own in config["datasets"].items() if own["source"] == source)
        or "(?!)"
    )


def label_file(wildcards):
    if wildcards.dataset == "demo":
        return "results/demo/corpus/label.csv"
    demand(wildcards.dataset)
    return str(manifest.label_file(config["datasets"][wildcards.dataset]["root"]))


def encoder_files(wildcards):
    """Files of an encoder that is a folder of the user's, who may replace them."""
    folder = Path(encoders_of(wildcards.dataset)[wildcards.modality]).expanduser()
    return sorted(map(str, hub.model_files(folder))) if folder.is_dir() else []


def costs_of_shards(wildcards):
    """What the extraction of each shard of every modality cost."""
    return [
        path.removesuffix(".h5") + ".costs.csv"
        for modality in MODALITIES
        for path in shard_files(modality)(wildcards)
    ]


def features_file(wildcards):
    demand(wildcards.dataset)
    return config["datasets"][wildcards.dataset]["features_file"]


rule manifest:
    input:
        labels=label_file,
    output:
        clips="results/{dataset}/manifest.csv",
        refused="results/{dataset}/refused.csv",
    log:
        "results/{dataset}/logs/manifest.log",
    localrule: True
    params:
        code=code("corpus/manifest"),
        label_range=lambda w: config["datasets"][w.dataset]["label_range"],
    script:
        "../scripts/manifest.py"


rule encoder:
    input:
        files=encoder_files,
    output:
        "results/{dataset}/{modality}_encoder.json",
    log:
        "results/{dataset}/logs/{modality}_encoder.log",
    wildcard_constraints:
        modality="|".join(MODALITIES),
    localrule: True
    params:
        code=code("hub"),
        encoder=lambda w: encoders_of(w.dataset)[w.modality],
    script:
        "../scripts/encoder.py"


rule extract_text:
    input:
        encoder="results/{dataset}/text_encoder.json",
    output:
        features="results/{dataset}/shards/text-{shard}.h5",
        costs="results/{dataset}/shards/text-{shard}.costs.csv",
    log:
        "results/{dataset}/logs/extract_text-{shard}.log",
    benchmark:
        "results/{dataset}/benchmarks/extract_text-{shard}.tsv"
    threads: config["threads"]["extract"]
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
    params:
        code=code_of("text"),
        modality="text",
        extractor=extraction("text", 0),
        settings=lambda w: {
            "encoder": config["datasets"][w.dataset]["text_encoder"],
            **extraction("text", 1)(w),
        },
        clips=clips_of("text"),
        sources=lambda w: [clips(w.dataset)[clip] for clip in clips_of("text")(w)],
    script:
        "../scripts/extract.py"


rule extract_audio:
    input:
        files=inputs_of("audio"),
    output:
        features="results/{dataset}/shards/audio-{shard}.h5",
        costs="results/{dataset}/shards/audio-{shard}.costs.csv",
    log:
        "results/{dataset}/logs/extract_audio-{shard}.log",
    benchmark:
        "results/{dataset}/benchmarks/extract_audio-{shard}.tsv"
    threads: config["threads"]["extract"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        code=code_of("audio"),
        modality="audio",
        extractor=extraction("audio", 0),
        settings=extraction("audio", 1),
        clips=clips_of("audio"),
        sources=sources_of("audio"),
    script:
        "../scripts/extract.py"


rule extract_vision:
    input:
        files=inputs_of("vision"),
    output:
        features="results/{dataset}/shards/vision-{shard}.h5",
        costs="results/{dataset}/shards/vision-{shard}.costs.csv",
    log:
        "results/{dataset}/logs/extract_vision-{shard}.log",
    benchmark:
        "results/{dataset}/benchmarks/extract_vision-{shard}.tsv"
    threads: config["threads"]["extract"]
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        code=code_of("vision"),
        modality="vision",
        extractor=extraction("vision", 0),
        settings=extraction("vision", 1),
        clips=clips_of("vision"),
        sources=sources_of("vision"),
    script:
        "../scripts/extract.py"


rule quarantine:
    input:
        manifest="results/{dataset}/manifest.csv",
        refused="results/{dataset}/refused.csv",
        text=shard_files("text"),
        audio=shard_files("audio"),
        vision=shard_files("vision"),
        costs=costs_of_shards,
    output:
        quarantine=report(
            "results/{dataset}/quarantine.csv",
            caption="../report/quarantine.rst",
            category="{dataset}",
        ),
        quality="results/{dataset}/extraction.csv",
    log:
        "results/{dataset}/logs/quarantine.log",
    wildcard_constraints:
        dataset=of_source("raw"),
    localrule: True
    params:
        code=code("features/extract"),
    script:
        "../scripts/quarantine.py"


rule features:
    input:
        manifest="results/{dataset}/manifest.csv",
        quarantine="results/{dataset}/quarantine.csv",
        text=shard_files("text"),
        audio=shard_files("audio"),
        vision=shard_files("vision"),
    output:
        "results/{dataset}/features.h5",
    log:
        "results/{dataset}/logs/features.log",
    benchmark:
        "results/{dataset}/benchmarks/features.tsv"
    wildcard_constraints:
        dataset=of_source("raw"),
    resources:
        mem_mb=growing(1500),
        runtime=growing(60),
        max_share=MAX_SHARE,
    params:
        code=code("features/extract"),
    script:
        "../scripts/features.py"


rule import_features:
    input:
        file=features_file,
        encoder="results/{dataset}/text_encoder.json",
    output:
        features="results/{dataset}/features.h5",
        quarantine="results/{dataset}/quarantine.csv",
    log:
        "results/{dataset}/logs/import_features.log",
    benchmark:
        "results/{dataset}/benchmarks/import_features.tsv"
    wildcard_constraints:
        dataset=of_source("features"),
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
        max_share=MAX_SHARE,
    params:
        code=code("exchange/official"),
        label_range=lambda w: config["datasets"][w.dataset]["label_range"],
        modalities=lambda w: list(features_of(w.dataset)),
    script:
        "../scripts/import_features.py"
