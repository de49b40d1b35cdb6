import itertools

import job

job.start(snakemake)

from cmc.evaluation import tuning

params = snakemake.params
on_test = snakemake.wildcards.get("split") == "test"
score = tuning.on_test if on_test else tuning.on_validation
runs = zip(itertools.product(params.points, params.seeds), map(score, snakemake.input.runs), strict=True)
ranked = tuning.rank(params.points, dict(runs), params.by)
tuning.write(ranked, snakemake.output[0])
print(tuning.show(ranked, params.by), end="", flush=True)
