# The demo corpus: one job a speaker.


rule demo_video:
    output:
        expand(
            "results/demo/corpus/Raw/{{video}}/{clip}.mp4",
            clip=sorted({c.clip_id for c in data.demo}),
        ),
    log:
        "results/demo/logs/demo_{video}.log",
    benchmark:
        "results/demo/benchmarks/demo_video-{video}.tsv"
    resources:
        mem_mb=growing(1500),
        runtime=growing(30),
    params:
        code=code("demo/corpus", "demo/film"),
        clips=lambda w: [vars(c) for c in data.demo if c.video_id == w.video],
    script:
        "../scripts/demo_video.py"


rule demo_labels:
    output:
        "results/demo/corpus/label.csv",
    log:
        "results/demo/logs/demo_labels.log",
    localrule: True
    params:
        code=code("demo/corpus"),
        clips=[vars(c) for c in data.demo],
    script:
        "../scripts/demo_labels.py"
