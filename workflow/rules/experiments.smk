# What stands behind a table: calibration, consensus, failures, robustness, cost, other data; and all of it by one name.


rule calibration:
    input:
        predictions=of_first_variant("predictions.csv"),
        validation=of_first_variant("validation.csv"),
        metrics=of_first_variant("metrics.json"),
        subsets="results/{dataset}/subsets.csv",
    output:
        table=report(
            "results/{dataset}/calibration.csv",
            caption="../report/table.rst",
            category="{dataset}",
        ),
        bins="results/{dataset}/calibration_bins.csv",
    log:
        "results/{dataset}/logs/calibration.log",
    localrule: True
    params:
        code=code("evaluation/calibration", "evaluation/statistics"),
        variant=variants.main,
    script:
        "../scripts/calibration.py"


rule consensus:
    input:
        predictions=of_first_variant("predictions.csv"),
        metrics=of_first_variant("metrics.json"),
        pretrained=lambda w: variants.checkpoints(
            w.dataset, variants.main, SEEDS, "pretrain"
        ),
        subsets="results/{dataset}/subsets.csv",
        extraction=lambda w: data.quality_file(w.dataset),
    output:
        consensus=report(
            "results/{dataset}/consensus.csv",
            caption="../report/table.rst",
            category="{dataset}",
        ),
        pseudo_labels="results/{dataset}/pseudo_labels.csv",
        failures="results/{dataset}/failures.csv",
    log:
        "results/{dataset}/logs/consensus.log",
    localrule: True
    params:
        code=code("evaluation/consensus", "features/extract"),
        variant=variants.main,
        resampling=RESAMPLING,
    script:
        "../scripts/consensus.py"


rule embeddings:
    input:
        features="results/{dataset}/features.h5",
        pretrained=lambda w: variants.checkpoints(
            w.dataset, variants.main, SEEDS, "pretrain"
        )[0],
        finetuned=lambda w: variants.checkpoints(w.dataset, variants.main, SEEDS)[0],
    output:
        "results/{dataset}/embeddings.csv",
    log:
        "results/{dataset}/logs/embeddings.log",
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("evaluation/embeddings", "hub"),
    script:
        "../scripts/embeddings.py"


rule robustness:
    input:
        features="results/{dataset}/features.h5",
        pretrained=lambda w: variants.checkpoints(
            w.dataset, variants.main, SEEDS, "pretrain"
        ),
        finetuned=lambda w: variants.checkpoints(w.dataset, variants.main, SEEDS),
    output:
        report(
            "results/{dataset}/robustness.csv",
            caption="../report/table.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/robustness.log",
    benchmark:
        "results/{dataset}/benchmarks/robustness.tsv"
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("evaluation/robustness", "hub"),
    script:
        "../scripts/robustness.py"


rule cost:
    input:
        features="results/{dataset}/features.h5",
        pretrained=lambda w: variants.checkpoints(
            w.dataset, w.variant, SEEDS, "pretrain"
        ),
        finetuned=lambda w: variants.checkpoints(w.dataset, w.variant, SEEDS),
    output:
        "results/{dataset}/{variant}/cost.json",
    log:
        "results/{dataset}/logs/cost-{variant}.log",
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("evaluation/cost", "hub"),
        benchmarks=lambda w, input: benchmarks([*input.pretrained, *input.finetuned]),
        unimodal=lambda w: w.variant == variants.main,
    script:
        "../scripts/cost.py"


rule cost_of_baseline:
    input:
        features="results/{dataset}/features.h5",
        trained=lambda w: variants.baseline_checkpoints(w.dataset, w.baseline, SEEDS),
    output:
        "results/{dataset}/{baseline}/cost.json",
    log:
        "results/{dataset}/logs/cost-{baseline}.log",
    wildcard_constraints:
        baseline="|".join(config["baselines"]) or "(?!)",
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("evaluation/cost", "hub"),
        benchmarks=lambda w, input: benchmarks(input.trained),
    script:
        "../scripts/cost.py"


rule costs:
    input:
        lambda w: expand(
            "results/{{dataset}}/{variant}/cost.json",
            variant=variants.costed(w.dataset),
        ),
    output:
        report(
            "results/{dataset}/cost.csv",
            caption="../report/table.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/costs.log",
    localrule: True
    script:
        "../scripts/costs.py"


# A data set's test split read by models that another one has trained.
rule evaluate_cross:
    input:
        features="results/{dataset}/features.h5",
        trained_on="results/{other}/features.h5",
        subsets="results/{dataset}/subsets.csv",
        pretrained=lambda w: variants.checkpoints(
            w.other, variants.main, [w.seed], "pretrain"
        ),
        finetuned=lambda w: variants.checkpoints(w.other, variants.main, [w.seed]),
    output:
        predictions="results/{dataset}/from_{other}/seed{seed}/predictions.csv",
        validation="results/{dataset}/from_{other}/seed{seed}/validation.csv",
        metrics="results/{dataset}/from_{other}/seed{seed}/metrics.json",
        distances="results/{dataset}/from_{other}/seed{seed}/distances.csv",
    log:
        "results/{dataset}/logs/evaluate_cross-{other}-{seed}.log",
    wildcard_constraints:
        other="|".join(config["datasets"]),
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("evaluation/evaluate", "evaluation/cross", "hub"),
        pair=lambda w: variants.pair(w.other, w.dataset),
    script:
        "../scripts/evaluate_cross.py"


rule cross_dataset:
    input:
        metrics=[
            f"results/{pair['test']}/{where}/seed{seed}/metrics.json"
            for pair in config["cross_dataset"]
            for where in (variants.main, f"from_{pair['train']}")
            for seed in SEEDS
        ],
        predictions=[
            f"results/{pair['test']}/{where}/seed{seed}/predictions.csv"
            for pair in config["cross_dataset"]
            for where in (variants.main, f"from_{pair['train']}")
            for seed in SEEDS
        ],
        distances=[
            f"results/{pair['test']}/from_{pair['train']}/seed{seed}/distances.csv"
            for pair in config["cross_dataset"]
            for seed in SEEDS[:1]
        ],
        subsets=[
            f"results/{pair['test']}/subsets.csv" for pair in config["cross_dataset"]
        ],
    output:
        report(
            "results/cross_dataset.csv",
            caption="../report/table.rst",
            category="cross-data",
        ),
    log:
        "results/cross_dataset.log",
    localrule: True
    params:
        code=code("evaluation/cross", "evaluation/statistics"),
        pairs=[configs.merged(pair) for pair in config["cross_dataset"]],
        seeds=SEEDS,
        resampling=RESAMPLING,
    script:
        "../scripts/cross_dataset.py"


# Every claim of a paper about a data set, by one name.
rule everything:
    input:
        lambda w: [
            f"results/{w.dataset}/{name}" for name in variants.products(w.dataset)
        ],
    output:
        touch("results/{dataset}/all"),
    localrule: True
