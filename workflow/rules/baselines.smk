# The models of others, trained and evaluated on the same features, splits and seeds. Tables name them like variants.
# Of one with a grid every point is trained; the best by the validation split is evaluated under the baseline's name.


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
        baseline="|".join(map(re.escape, variants.baselines.folders)) or "(?!)",
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=lambda w: code(
            "training/baseline",
            "hub",
            f"models/baselines/{variants.baselines.architecture(variants.baselines.owner(w.dataset, w.baseline))}",
        ),
        run=lambda w: parts_of(w.run),
        stage=lambda w: variants.baselines.stage(
            w.dataset,
            w.baseline,
            variants.settings("model", w.dataset, variants.main)["mask_padding"],
        ),
    script:
        "../scripts/baseline.py"


rule tuning_of_baseline:
    input:
        runs=lambda w: variants.baseline_points(w.dataset, w.baseline, sorted(SEEDS)),
    output:
        report(
            "results/{dataset}/tuning_of_{baseline}.csv",
            caption="../report/tuning.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/tuning_of_{baseline}.log",
    wildcard_constraints:
        baseline="|".join(config["baselines"]) or "(?!)",
    localrule: True
    params:
        code=code("evaluation/tuning"),
        points=lambda w: {
            point: variants.baselines.point(w.dataset, point)
            for point in variants.baselines.points(w.dataset, w.baseline)
        },
        seeds=sorted(SEEDS),
        by=lambda w: variants.tuned_by(w.dataset),
    script:
        "../scripts/tuning.py"


rule evaluate_baseline:
    input:
        features="results/{dataset}/features.h5",
        subsets="results/{dataset}/subsets.csv",
        sources=lambda w: variants.baseline_sources(w.dataset, w.baseline, w.seed),
        tuning=lambda w: (
            f"results/{w.dataset}/tuning_of_{w.baseline}.csv"
            if variants.baselines.points(w.dataset, w.baseline)
            else []
        ),
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
        threads_set=THREADS["train"],
    params:
        code=code("evaluation/baseline", "hub", "evaluation/tuning"),
        points=lambda w: variants.baselines.points(w.dataset, w.baseline),
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
