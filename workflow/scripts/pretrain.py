import job

job.start(snakemake)

from cmc import pretrain

params, stage = snakemake.params, dict(snakemake.params.stage)
model = dict(stage["model"])
pretrain.run(
    snakemake.input.features,
    snakemake.output.weights,
    mask_padding=model.pop("mask_padding"),
    model=model,
    settings=stage["settings"],
    has0=params.has0,
    seed=int(snakemake.wildcards.seed),
    text_encoder=params.text_encoder,
    device=job.device(snakemake.resources.device),
)
