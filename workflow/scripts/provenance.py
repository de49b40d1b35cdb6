import job

job.start(snakemake)

import os

from cmc.report import provenance

source = snakemake.input
provenance.write(
    snakemake.output[0],
    command=os.environ.get("CMC_COMMAND"),
    config=snakemake.params.config,
    inputs=[source.data, *source.encoders],
    results=[source.features, source.table],
    benchmarks=snakemake.params.benchmarks,
)
