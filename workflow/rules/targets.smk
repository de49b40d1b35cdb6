# What was asked for is judged before any job: targets that nothing makes, data sets that can't be run. It comes last,
# since it asks all rules.

from snakemake.io import strip_wildcard_constraints

from cmc.planning import check, targets


def products():
    """What there is of every data set, in the order of its way through the rules."""
    outputs = [file for rule in workflow.rules for file in rule.output]
    files = list(map(strip_wildcard_constraints, outputs))
    names = [f.removeprefix("results/{dataset}/") for f in files if "{dataset}" in f]
    whole = [name for name in names if "/" not in name and "{modality}" not in name]
    tuned = variants.baselines.tuned
    known = {"table": config["tables"], "split": SCORED_IN, "baseline": tuned}
    return list(dict.fromkeys(one for name in whole for one in expand(name, **known)))


def is_made(target):
    makers = workflow.rules
    return workflow.is_rule(target) or any(own.is_producer(target) for own in makers)


if workflow.is_main_process:
    if not asked.unlock:
        pairs = config["cross_dataset"]
        for dataset in targets.datasets(wanted, config["datasets"], pairs):
            tables = targets.tables(wanted, dataset, config["tables"])
            found = check.findings(config, data, variants, dataset, tables)
            check.stop(found, dataset)
            print(check.warnings(found, dataset), end="", file=sys.stderr)
        targets.check(wanted, is_made, products(), config["predictions"])
