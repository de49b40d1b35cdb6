# From features and checkpoints to numbers: summary, export, consistency subsets, evaluation, tables, report.


rule summary:
    input:
        features="results/{dataset}/features.h5",
        quarantine="results/{dataset}/quarantine.csv",
        extraction=lambda w: data.quality_file(w.dataset),
    output:
        csv="results/{dataset}/summary.csv",
        markdown="results/{dataset}/summary.md",
        warnings="results/{dataset}/data_warnings.csv",
    log:
        "results/{dataset}/logs/summary.log",
    priority: 1  # what it warns of should be read before hours of training
    resources:
        mem_mb=growing(1500),
        runtime=growing(30),
    params:
        code=code("features/summary", "features/extract", "evaluation/warnings"),
        published=lambda w: data.setting(w.dataset, "published_clips"),
    script:
        "../scripts/summary.py"


rule mmsa:
    input:
        features=lambda w: data.shared_as_mmsa(w.dataset),
    output:
        "results/{dataset}/mmsa.pkl",
    log:
        "results/{dataset}/logs/mmsa.log",
    resources:
        mem_mb=growing(1500),
        runtime=growing(60),
    params:
        code=code("exchange/mmsa"),
    script:
        "../scripts/mmsa.py"


def of_first_variant(file):
    """Pattern of a file of each seed of the variant that stands first in `table`."""
    return expand(
        "results/{{dataset}}/{variant}/seed{seed}/{file}",
        variant=variants.main,
        seed=SEEDS,
        file=file,
    )


rule consistency:
    input:
        features="results/{dataset}/features.h5",
    output:
        "results/{dataset}/subsets.csv",
    log:
        "results/{dataset}/logs/consistency.log",
    localrule: True
    params:
        code=code("corpus/consistency", "features/store"),
        rule=lambda w: (
            config["consistency"]["rule"]
            if data.class_names(w.dataset) is None
            else "same_class"
        ),
    script:
        "../scripts/consistency.py"


rule evaluate:
    input:
        features="results/{dataset}/features.h5",
        subsets="results/{dataset}/subsets.csv",
        pretrained=lambda w: variants.checkpoints(
            w.dataset, w.variant, [w.seed], "pretrain"
        ),
        finetuned=lambda w: variants.checkpoints(w.dataset, w.variant, [w.seed]),
    output:
        predictions="results/{dataset}/{variant}/seed{seed}/predictions.csv",
        validation="results/{dataset}/{variant}/seed{seed}/validation.csv",
        metrics="results/{dataset}/{variant}/seed{seed}/metrics.json",
    log:
        "results/{dataset}/logs/evaluate-{variant}-{seed}.log",
    benchmark:
        "results/{dataset}/benchmarks/evaluate-{variant}-{seed}.tsv"
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("evaluation/evaluate", "hub"),
    script:
        "../scripts/evaluate.py"


rule warnings:
    input:
        data="results/{dataset}/data_warnings.csv",
        metrics=of_first_variant("metrics.json"),
        predictions=of_first_variant("predictions.csv"),
    output:
        "results/{dataset}/warnings.csv",
    log:
        "results/{dataset}/logs/warnings.log",
    localrule: True
    params:
        code=code("evaluation/warnings"),
    script:
        "../scripts/warnings.py"


rule table:
    input:
        # the warnings about models are of those of table.csv
        warnings=lambda w: (
            f"results/{w.dataset}/{'' if w.table == 'table' else 'data_'}warnings.csv"
        ),
        metrics=lambda w: expand(
            "results/{{dataset}}/{variant}/seed{seed}/metrics.json",
            variant=variants.of_table(w.dataset, w.table),
            seed=SEEDS,
        ),
        predictions=lambda w: expand(
            "results/{{dataset}}/{variant}/seed{seed}/predictions.csv",
            variant=variants.of_table(w.dataset, w.table),
            seed=SEEDS,
        ),
        subsets="results/{dataset}/subsets.csv",
        published=str(PACKAGE / "evaluation/published.csv"),
    output:
        report(
            "results/{dataset}/{table}.csv",
            caption="../report/table.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/{table}.log",
    localrule: True
    params:
        code=code("evaluation/statistics"),
        variants=lambda w: variants.of_table(w.dataset, w.table),
        resampling=RESAMPLING,
    script:
        "../scripts/table.py"


rule significance:
    input:
        metrics=lambda w: expand(
            "results/{{dataset}}/{variant}/seed{seed}/metrics.json",
            variant=variants.compared(w.dataset),
            seed=SEEDS,
        ),
        predictions=lambda w: expand(
            "results/{{dataset}}/{variant}/seed{seed}/predictions.csv",
            variant=variants.compared(w.dataset),
            seed=SEEDS,
        ),
        subsets="results/{dataset}/subsets.csv",
    output:
        report(
            "results/{dataset}/significance.csv",
            caption="../report/table.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/significance.log",
    localrule: True
    params:
        code=code("evaluation/statistics"),
        variants=lambda w: variants.compared(w.dataset),
        resampling=RESAMPLING,
    script:
        "../scripts/significance.py"


rule folds:
    input:
        metrics=lambda w: expand(
            "results/{{dataset}}/{variant}/seed{seed}/metrics.json",
            variant=variants.of_folds(w.dataset),
            seed=SEEDS,
        ),
    output:
        report(
            "results/{dataset}/folds.csv",
            caption="../report/table.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/folds.log",
    localrule: True
    params:
        code=code("evaluation/tables"),
    script:
        "../scripts/folds.py"


# tables that a report shows beside its own, if they are there; sorted: the order of keys is no setting
BESIDE = sorted({*config["tables"], "cost", "tuning_on_validation"} - {"table"})


def asked_beside(wildcards):
    """Other tables of a data set that are asked for together with its report, which then waits for them.

    Of others that are there it shows those that agree with it. They are no input: it must not train what nobody
    asked for.
    """
    whole = f"results/{wildcards.dataset}/all" in wanted
    made = variants.products(wildcards.dataset) if whole else []
    places = {
        f"{name}.csv": f"results/{wildcards.dataset}/{name}.csv" for name in BESIDE
    }
    return [path for name, path in places.items() if path in wanted or name in made]


# what the pictures of a report are drawn from
DRAWN = dict(
    table="results/{dataset}/table.csv",
    predictions=of_first_variant("predictions.csv"),
    metrics=of_first_variant("metrics.json"),
    pretrained=lambda w: variants.checkpoints(
        w.dataset, variants.main, SEEDS, "pretrain"
    ),
    finetuned=lambda w: variants.checkpoints(w.dataset, variants.main, SEEDS),
    quarantine="results/{dataset}/quarantine.csv",
    warned="results/{dataset}/warnings.csv",
    features="results/{dataset}/features.h5",
    experiments=expand(
        "results/{{dataset}}/{name}.csv",
        name=["calibration_bins", "pseudo_labels", "robustness", "embeddings"],
    ),
    beside=asked_beside,
)


rule report:
    input:
        **DRAWN,
        subsets="results/{dataset}/subsets.csv",
        quality=lambda w: data.quality_file(w.dataset),
        provenance="results/{dataset}/provenance.json",
        summary="results/{dataset}/summary.csv",
        parts=[
            str(PACKAGE / f"report/page.{kind}") for kind in ("html.j2", "css", "js")
        ],
    output:
        report(
            "results/{dataset}/report.html",
            caption="../report/report.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/report.log",
    localrule: True
    params:
        code=code("report/page"),
        beside=BESIDE,
        variant=variants.main,
        thumbnails=config["report"]["thumbnails"],
    script:
        "../scripts/report.py"


rule figures:
    input:
        **DRAWN,
    output:
        directory("results/{dataset}/figures"),
    log:
        "results/{dataset}/logs/figures.log",
    localrule: True
    params:
        code=code("report/page", "report/paper"),
        beside=BESIDE,
        variant=variants.main,
    script:
        "../scripts/figures.py"


rule paper_table:
    input:
        "results/{dataset}/{table}.csv",
    output:
        latex="results/{dataset}/{table}.tex",
        markdown="results/{dataset}/{table}.md",
    log:
        "results/{dataset}/logs/{table}-paper.log",
    wildcard_constraints:
        table="|".join(config["tables"]),
    localrule: True
    params:
        code=code("report/paper"),
    script:
        "../scripts/paper_table.py"


rule overview:
    input:
        tables=lambda w: [
            path
            for name in config["datasets"]
            if os.path.exists(path := f"results/{name}/table.csv") or path in wanted
        ],
        parts=[
            str(PACKAGE / f"report/{name}")
            for name in ("overview.html.j2", "page.css")
        ],
    output:
        "results/report.html",
    log:
        "results/logs/overview.log",
    localrule: True
    params:
        code=code("report/overview"),
    script:
        "../scripts/overview.py"


rule provenance:
    input:
        data=lambda w: (
            str(data.features_file(w.dataset))
            if data.setting(w.dataset, "source") == "features"
            else data.label_file(w.dataset)
        ),
        encoders=lambda w: [
            f"results/{w.dataset}/{modality}_encoder.json"
            for modality in data.encoders_of(w.dataset)
        ],
        features="results/{dataset}/features.h5",
        table="results/{dataset}/table.csv",
    output:
        report(
            "results/{dataset}/provenance.json",
            caption="../report/provenance.rst",
            category="{dataset}",
        ),
    log:
        "results/{dataset}/logs/provenance.log",
    localrule: True
    params:
        code=code("report/provenance"),
        config=lambda w: data.traced(w.dataset),
        benchmarks="results/{dataset}/benchmarks",
    script:
        "../scripts/provenance.py"
