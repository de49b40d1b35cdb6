import itertools

import job

job.start(snakemake)

from cmc.evaluation import tuning

params = snakemake.params
score = {"validation": tuning.on_validation, "test": tuning.on_test}[snakemake.wildcards.split]
runs = zip(itertools.product(params.points, params.seeds), map(score, snakemake.input.runs), strict=True)
ranked = tuning.rank(params.points, dict(runs), params.by)
tuning.write(ranked, snakemake.output[0])
print(tuning.show(ranked, params.by), end="", flush=True)
