# From a label file and videos to one feature file: manifest, text encoder, extraction in shards, gather.
# Or, for a data set of `source: features`, from an official feature file.


# Gates that change no result: as resources they rerun nothing. Resources are whole numbers or text.
MAX_SHARE = str(config["quarantine"]["max_share"])
TIME_LIMIT = str(config["quarantine"]["time_limit"])


rule manifest:
    input:
        labels=lambda w: data.label_file(w.dataset),
        transcripts=lambda w: data.transcripts(w.dataset),
    output:
        clips="results/{dataset}/manifest.csv",
        refused="results/{dataset}/refused.csv",
    log:
        "results/{dataset}/logs/manifest.log",
    localrule: True
    params:
        code=code("corpus/manifest", "corpus/transcripts"),
        rules=lambda w: data.rules(w.dataset),
    script:
        "../scripts/manifest.py"


rule transcribe:
    input:
        labels=lambda w: data.label_file(w.dataset),
        files=lambda w: data.recorded(w.dataset, w.shard),
    output:
        "results/{dataset}/shards/transcripts-{shard}.csv",
    log:
        "results/{dataset}/logs/transcribe-{shard}.log",
    benchmark:
        "results/{dataset}/benchmarks/transcribe-{shard}.tsv"
    threads: config["threads"]["extract"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        clip_time_limit=TIME_LIMIT,
        threads_set=THREADS["extract"],
    params:
        code=code("features/transcription", "corpus/transcripts"),
        model=lambda w: data.setting(w.dataset, "transcribe"),
        language=lambda w: data.setting(w.dataset, "language"),
        recordings=lambda w: data.recordings(w.dataset, w.shard),
    script:
        "../scripts/transcribe.py"


# People may correct this list: what they wrote stays when it is made anew.
rule transcripts:
    input:
        lambda w: data.transcript_files(w.dataset),
    output:
        update("results/{dataset}/transcripts.csv"),
    log:
        "results/{dataset}/logs/transcripts.log",
    localrule: True
    params:
        code=code("corpus/transcripts"),
    script:
        "../scripts/transcripts.py"


rule encoder:
    input:
        files=lambda w: data.encoder_files(w.dataset, w.modality),
    output:
        "results/{dataset}/{modality}_encoder.json",
    log:
        "results/{dataset}/logs/{modality}_encoder.log",
    wildcard_constraints:
        modality="|".join(MODALITIES),
    localrule: True
    params:
        code=code("hub"),
        encoder=lambda w: data.encoders_of(w.dataset)[w.modality],
    script:
        "../scripts/encoder.py"


rule extract_text:
    input:
        encoder="results/{dataset}/text_encoder.json",
        transcripts=lambda w: data.transcripts(w.dataset),
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
        clip_time_limit=TIME_LIMIT,
        threads_set=THREADS["extract"],
    params:
        code=lambda w: data.code_of(w.dataset, "text"),
        extraction=lambda w: data.extraction(w.dataset, "text"),
        clips=lambda w: data.shards(w.dataset, "text")[w.shard],
        sources=lambda w: data.sources(w.dataset, "text", w.shard),
    script:
        "../scripts/extract.py"


rule extract_audio:
    input:
        files=lambda w: data.inputs(w.dataset, "audio", w.shard),
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
        clip_time_limit=TIME_LIMIT,
        threads_set=THREADS["extract"],
    params:
        code=lambda w: data.code_of(w.dataset, "audio"),
        extraction=lambda w: data.extraction(w.dataset, "audio"),
        clips=lambda w: data.shards(w.dataset, "audio")[w.shard],
        sources=lambda w: data.sources(w.dataset, "audio", w.shard),
    script:
        "../scripts/extract.py"


rule extract_vision:
    input:
        files=lambda w: data.inputs(w.dataset, "vision", w.shard),
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
        clip_time_limit=TIME_LIMIT,
        threads_set=THREADS["extract"],
    params:
        code=lambda w: data.code_of(w.dataset, "vision"),
        extraction=lambda w: data.extraction(w.dataset, "vision"),
        clips=lambda w: data.shards(w.dataset, "vision")[w.shard],
        sources=lambda w: data.sources(w.dataset, "vision", w.shard),
    script:
        "../scripts/extract.py"


rule quarantine:
    input:
        manifest="results/{dataset}/manifest.csv",
        refused="results/{dataset}/refused.csv",
        text=lambda w: data.shard_files(w.dataset, "text"),
        audio=lambda w: data.shard_files(w.dataset, "audio"),
        vision=lambda w: data.shard_files(w.dataset, "vision"),
        costs=lambda w: data.cost_files(w.dataset),
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
        dataset=data.of_source("raw"),
    localrule: True
    params:
        code=code("features/extract"),
    script:
        "../scripts/quarantine.py"


rule features:
    input:
        manifest="results/{dataset}/manifest.csv",
        quarantine="results/{dataset}/quarantine.csv",
        text=lambda w: data.shard_files(w.dataset, "text"),
        audio=lambda w: data.shard_files(w.dataset, "audio"),
        vision=lambda w: data.shard_files(w.dataset, "vision"),
    output:
        "results/{dataset}/features.h5",
    log:
        "results/{dataset}/logs/features.log",
    benchmark:
        "results/{dataset}/benchmarks/features.tsv"
    wildcard_constraints:
        dataset=data.of_source("raw"),
    resources:
        mem_mb=growing(1500),
        runtime=growing(60),
        max_share=MAX_SHARE,
    params:
        code=code("features/extract"),
        names=lambda w: data.class_names(w.dataset),
    script:
        "../scripts/features.py"


rule import_features:
    input:
        file=lambda w: str(data.features_file(w.dataset)),
        encoder="results/{dataset}/text_encoder.json",
    output:
        features="results/{dataset}/features.h5",
        quarantine="results/{dataset}/quarantine.csv",
    log:
        "results/{dataset}/logs/import_features.log",
    benchmark:
        "results/{dataset}/benchmarks/import_features.tsv"
    wildcard_constraints:
        dataset=data.of_source("features"),
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
        max_share=MAX_SHARE,
        trained_by=lambda w: " ".join(variants.trains_text(w.dataset)),
    params:
        code=code("exchange/official"),
        label_range=lambda w: data.setting(w.dataset, "label_range"),
        modalities=lambda w: list(data.features_of(w.dataset)),
    script:
        "../scripts/import_features.py"
