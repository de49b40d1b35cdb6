# Tuning: every point of a grid is trained like a variant; the best by the validation (or, as published, the test) split
# is the variant `tuned_on_validation` (`tuned_on_test`).


# where the scores of a point and seed on a split are
SCORED_IN = {"validation": "finetune.json", "test": "metrics.json"}


def of_points(file):
    """A file of every point and seed, points first."""
    return expand(
        "results/{{dataset}}/{point}/seed{seed}/{file}",
        point=GRID,
        seed=sorted(SEEDS),
        file=file,
    )


rule tuning:
    input:
        runs=lambda w: of_points(SCORED_IN[w.split]),
    output:
        report(
            "results/{dataset}/tuning_on_{split}.csv",
            caption="../report/tuning.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/tuning_on_{split}.log",
    wildcard_constraints:
        split="|".join(SCORED_IN),
    localrule: True
    params:
        code=code("evaluation/tuning"),
        points=GRID,
        seeds=sorted(SEEDS),
        by=lambda w: variants.tuned_by(w.dataset),
    script:
        "../scripts/tuning.py"


rule evaluate_tuned:
    input:
        features="results/{dataset}/features.h5",
        subsets="results/{dataset}/subsets.csv",
        tuning="results/{dataset}/tuning_on_{split}.csv",
        pretrained=lambda w: [
            variants.pretrained(w.dataset, p, f"seed{w.seed}") for p in GRID
        ],
        finetuned=expand(
            "results/{{dataset}}/{point}/seed{{seed}}/finetune.safetensors", point=GRID
        ),
    output:
        predictions="results/{dataset}/tuned_on_{split}/seed{seed}/predictions.csv",
        validation="results/{dataset}/tuned_on_{split}/seed{seed}/validation.csv",
        metrics="results/{dataset}/tuned_on_{split}/seed{seed}/metrics.json",
    log:
        "results/{dataset}/logs/evaluate_tuned-{split}-{seed}.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate_tuned-{split}-{seed}.tsv"
    wildcard_constraints:
        split="|".join(SCORED_IN),
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("evaluation/evaluate", "hub", "evaluation/tuning"),
        points=list(GRID),
    script:
        "../scripts/evaluate_tuned.py"
