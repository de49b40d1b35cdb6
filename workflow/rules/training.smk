# The two stages, per variant and run: a seed, of a data set in folds a fold and a seed.


rule pretrain:
    input:
        features="results/{dataset}/features.h5",
    output:
        weights="results/{dataset}/{variant}/{run}/pretrain.safetensors",
        facts="results/{dataset}/{variant}/{run}/pretrain.json",
        epochs="results/{dataset}/{variant}/{run}/pretrain.csv",
    log:
        "results/{dataset}/logs/pretrain-{variant}-{run}.log",
    benchmark:
        "results/{dataset}/benchmarks/pretrain-{variant}-{run}.tsv"
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("training/pretrain", "hub"),
        stage=lambda w: variants.stage1(w.dataset, w.variant),
        run=lambda w: parts_of(w.run),
    script:
        "../scripts/pretrain.py"


rule finetune:
    input:
        features="results/{dataset}/features.h5",
        pretrained=lambda w: variants.pretrained(w.dataset, w.variant, w.run),
    output:
        weights="results/{dataset}/{variant}/{run}/finetune.safetensors",
        facts="results/{dataset}/{variant}/{run}/finetune.json",
        epochs="results/{dataset}/{variant}/{run}/finetune.csv",
    log:
        "results/{dataset}/logs/finetune-{variant}-{run}.log",
    benchmark:
        "results/{dataset}/benchmarks/finetune-{variant}-{run}.tsv"
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(8000),
        runtime=growing(480),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("training/finetune", "hub"),
        stage=lambda w: variants.stage2(w.dataset, w.variant),
    script:
        "../scripts/finetune.py"
