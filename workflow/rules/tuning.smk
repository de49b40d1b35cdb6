# Tuning: every point of a grid is trained like a variant; the best by the validation split is the variant `tuned`.


def of_points(file):
    """A file of every point and seed, points first."""
    return expand(
        "results/{{dataset}}/{point}/seed{seed}/{file}",
        point=GRID,
        seed=config["seeds"],
        file=file,
    )


rule tuning:
    input:
        runs=lambda w: of_points("metrics.json" if w.on_test else "finetune.json"),
    output:
        report(
            "results/{dataset}/tuning{on_test}.csv",
            caption="../report/tuning.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/tuning{on_test}.log",
    wildcard_constraints:
        on_test="(_on_test)?",
    localrule: True
    params:
        code=code("tuning"),
        points=GRID,
        seeds=config["seeds"],
        by=config["tuning"]["by"],
    script:
        "../scripts/tuning.py"


rule evaluate_tuned:
    input:
        features="results/{dataset}/features.h5",
        subsets="results/{dataset}/subsets.csv",
        tuning="results/{dataset}/tuning{on_test}.csv",
        pretrained=lambda w: [pretrained(w.dataset, p, w.seed) for p in GRID],
        finetuned=expand(
            "results/{{dataset}}/{point}/seed{{seed}}/finetune.safetensors", point=GRID
        ),
    output:
        predictions="results/{dataset}/tuned{on_test}/seed{seed}/predictions.csv",
        metrics="results/{dataset}/tuned{on_test}/seed{seed}/metrics.json",
    log:
        "results/{dataset}/logs/evaluate-tuned{on_test}-{seed}.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate-tuned{on_test}-{seed}.tsv"
    wildcard_constraints:
        on_test="(_on_test)?",
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
    params:
        code=code("evaluate", "features/hub", "tuning"),
        points=list(GRID),
    script:
        "../scripts/evaluate_tuned.py"
