# A trained model to take along, and what it reads in folders of clips that the config names.


rule model:
    input:
        features="results/{dataset}/features.h5",
        table="results/{dataset}/table.csv",
        pretrained=lambda w: variants.checkpoints(
            w.dataset, variants.main, SEEDS, "pretrain"
        ),
        finetuned=lambda w: variants.checkpoints(w.dataset, variants.main, SEEDS),
        template=str(PACKAGE / "prediction/card.md.j2"),
    output:
        directory("results/{dataset}/model"),
    log:
        "results/{dataset}/logs/model.log",
    threads: config["threads"]["train"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
        device=config["device"],
        threads_set=THREADS["train"],
    params:
        code=code("prediction/export", "hub"),
        variant=variants.main,
        extraction=lambda w: {
            modality: data.taken_along(w.dataset, modality)
            for modality in data.extracted(w.dataset)
        },
    script:
        "../scripts/model.py"


rule predictions:
    input:
        model="results/{dataset}/model",
        clips=lambda w: data.clips_read(w.dataset, w.folder),
    output:
        rows="results/{dataset}/predictions/{folder}.csv",
        refused="results/{dataset}/predictions/{folder}.refused.csv",
    log:
        "results/{dataset}/logs/predictions-{folder}.log",
    wildcard_constraints:
        folder="|".join(config["predictions"]) or "(?!)",
    threads: config["threads"]["extract"]
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        device=config["device"],
        threads_set=THREADS["extract"],
    params:
        code=lambda w: [
            code("prediction/model", "prediction/command", "hub"),
            *(data.code_of(w.dataset, m) for m in data.extracted(w.dataset)),
        ],
        settings=lambda w: config["predictions"][w.folder],
        encoder=lambda w: data.setting(w.dataset, "text_encoder"),
    script:
        "../scripts/predictions.py"
