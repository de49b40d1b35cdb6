# What a run says of itself: who runs in this folder, why a stage runs again, what to look at afterwards.

import logging

from snakemake.utils import available_cpu_count

from cmc.planning import holders, run

# All cores, unless --cores says how many. Not in the default profile, which would hold a cluster's jobs to them too:
# a profile for one gives a number of jobs.
if (
    workflow.resource_settings.cores is None
    and workflow.resource_settings.nodes is None
):
    workflow.resource_settings.cores = available_cpu_count()
    workflow.global_resources["_cores"] = workflow.resource_settings.cores


onstart:
    holders.begin(
        os.environ["CMC_COMMAND"],
        read={str(f) for job in workflow.dag.needrun_jobs() for f in job.input},
        written={str(f) for job in workflow.dag.needrun_jobs() for f in job.output},
    )
    # What is to be made anew is marked as unfinished now, not when its job begins: if an earlier job fails or the
    # run is ended, the next run must not take a table of other settings for the current one.
    for job in workflow.dag.needrun_jobs():
        if any(map(os.path.exists, job.output)):
            workflow.persistence.started(job)


onsuccess:
    holders.end()
    print(
        run.next_look(targets.datasets(wanted, config["datasets"])), file=sys.stderr
    )


onerror:
    holders.end()


if workflow.is_main_process:
    run.share_terminal()
    logging.getLogger("snakemake.logging").addFilter(run.Plain())
    if locks := list(Path(".snakemake/locks").glob("*.lock")):
        print(holders.told(locks), file=sys.stderr)
