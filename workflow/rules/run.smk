# What a run says of itself: who runs in this folder, why a stage runs again, what to look at afterwards.

import logging

from cmc.planning import run


onstart:
    run.note_start(os.environ["CMC_COMMAND"])


onsuccess:
    run.note_end()
    print(
        run.next_look(targets.datasets(wanted, config["datasets"])), file=sys.stderr
    )


onerror:
    run.note_end()


if workflow.is_main_process:
    logging.getLogger("snakemake.logging").addFilter(run.Reasons(sys.stderr))
    if locks := list(Path(".snakemake/locks").glob("*.lock")):
        print(run.holder(locks), file=sys.stderr)
