import job

job.start(snakemake)

from cmc import files
from cmc.evaluation import tables
from cmc.report import paper

results = tables.read(snakemake.input[0])
files.write_text(snakemake.output.latex, paper.latex(results))
files.write_text(snakemake.output.markdown, paper.markdown(results))
