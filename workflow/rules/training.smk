# The two stages, per variant and seed.


rule pretrain:
    input:
        features="results/{dataset}/features.h5",
    output:
        weights="results/{dataset}/{variant}/seed{seed}/pretrain.safetensors",
        facts="results/{dataset}/{variant}/seed{seed}/pretrain.json",
        epochs="results/{dataset}/{variant}/seed{seed}/pretrain.csv",
    log:
        "results/{dataset}/logs/pretrain-{variant}-{seed}.log",
    benchmark:
        "results/{dataset}/benchmarks/pretrain-{variant}-{seed}.tsv"
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        device=config["device"],
    params:
        code=code("training/pretrain", "hub"),
        stage=lambda w: variants.stage1(w.dataset, w.variant),
    script:
        "../scripts/pretrain.py"


rule finetune:
    input:
        features="results/{dataset}/features.h5",
        pretrained=lambda w: variants.pretrained(w.dataset, w.variant, w.seed),
    output:
        weights="results/{dataset}/{variant}/seed{seed}/finetune.safetensors",
        facts="results/{dataset}/{variant}/seed{seed}/finetune.json",
        epochs="results/{dataset}/{variant}/seed{seed}/finetune.csv",
    log:
        "results/{dataset}/logs/finetune-{variant}-{seed}.log",
    benchmark:
        "results/{dataset}/benchmarks/finetune-{variant}-{seed}.tsv"
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(8000),
        runtime=growing(480),
        device=config["device"],
    params:
        code=code("training/finetune", "hub"),
        stage=lambda w: variants.stage2(w.dataset, w.variant),
    script:
        "../scripts/finetune.py"
