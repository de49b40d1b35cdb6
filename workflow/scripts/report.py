import job

job.start(snakemake)

import reported

from cmc.report import page

source, params = snakemake.input, snakemake.params
results = reported.explored(snakemake, reported.results(snakemake), params.thumbnails)
page.write(snakemake.output[0], snakemake.wildcards.dataset, results, params.variant)
