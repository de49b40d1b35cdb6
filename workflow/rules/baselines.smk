# The models of others, trained and evaluated on the same features, splits and seeds. Tables name them like variants.


rule baseline:
    input:
        features="results/{dataset}/features.h5",
    output:
        weights="results/{dataset}/{baseline}/{run}/baseline.safetensors",
        facts="results/{dataset}/{baseline}/{run}/baseline.json",
        epochs="results/{dataset}/{baseline}/{run}/baseline.csv",
    log:
        "results/{dataset}/logs/baseline-{baseline}-{run}.log",
    benchmark:
        "results/{dataset}/benchmarks/baseline-{baseline}-{run}.tsv"
    wildcard_constraints:
        baseline="|".join(config["baselines"]) or "(?!)",
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        device=config["device"],
    params:
        code=lambda w: code(
            "training/baseline",
            "hub",
            f"models/baselines/{variants.baselines.architecture(w.baseline)}",
        ),
        run=lambda w: parts_of(w.run),
        stage=lambda w: variants.baselines.stage(
            w.dataset,
            w.baseline,
            variants.settings("model", w.dataset, variants.main)["mask_padding"],
        ),
    script:
        "../scripts/baseline.py"


rule evaluate_baseline:
    input:
        features="results/{dataset}/features.h5",
        subsets="results/{dataset}/subsets.csv",
        sources=lambda w: variants.baseline_sources(w.dataset, w.baseline, w.seed),
    output:
        predictions="results/{dataset}/{baseline}/seed{seed}/predictions.csv",
        validation="results/{dataset}/{baseline}/seed{seed}/validation.csv",
        metrics="results/{dataset}/{baseline}/seed{seed}/metrics.json",
    log:
        "results/{dataset}/logs/evaluate_baseline-{baseline}-{seed}.log",
    wildcard_constraints:
        baseline="|".join(config["baselines"]) or "(?!)",
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
    params:
        code=code("evaluation/baseline", "hub"),
        kind=lambda w: variants.baselines.kind(w.baseline),
        class_weights=lambda w: variants.baselines.settings(w.dataset, w.baseline).get(
            "class_weights", "none"
        ),
        folds=lambda w: data.folds(w.dataset) or [None],
        has0=lambda w: data.setting(w.dataset, "has0"),
        mask_padding=lambda w: variants.settings("model", w.dataset, variants.main)[
            "mask_padding"
        ],
    script:
        "../scripts/evaluate_baseline.py"
