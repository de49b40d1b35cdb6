"""From talking-head videos to the tables of a paper. One DAG per data set of config.yaml."""

import os

from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config.yaml"


# settings of one's own, in the folder where one works
if os.path.exists("mine.yaml"):

    configfile: "mine.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/run.smk"
include: "workflow/rules/demo.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/tuning.smk"
include: "workflow/rules/baselines.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/experiments.smk"
include: "workflow/rules/prediction.smk"


rule all:
    default_target: True
    input:
        "results/demo/table.csv",
        "results/demo/report.html",
        "results/demo/provenance.json",


# last: it asks all rules what they make
include: "workflow/rules/targets.smk"
