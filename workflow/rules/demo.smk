# The demo corpus: one job a speaker.


rule demo_video:
    input:
        code("demo/corpus", "demo/film"),
    output:
        expand(
            "results/demo/corpus/Raw/{{video}}/{clip}.mp4",
            clip=sorted({c.clip_id for c in DEMO}),
        ),
    log:
        "results/demo/logs/demo_{video}.log",
    benchmark:
        "results/demo/benchmarks/demo_video-{video}.tsv"
    resources:
        mem_mb=growing(1500),
        runtime=growing(30),
    params:
        clips=lambda w: [vars(c) for c in DEMO if c.video_id == w.video],
    script:
        "../scripts/demo_video.py"


rule demo_labels:
    input:
        code("demo/corpus"),
    output:
        "results/demo/corpus/label.csv",
    log:
        "results/demo/logs/demo_labels.log",
    params:
        clips=[vars(c) for c in DEMO],
    script:
        "../scripts/demo_labels.py"
