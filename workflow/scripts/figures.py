import job

job.start(snakemake)

import reported

from cmc.report import page, paper

sections = page.sections(reported.results(snakemake), snakemake.params.variant)
paper.figures(snakemake.output[0], [chart for section in sections for chart in section.charts])
