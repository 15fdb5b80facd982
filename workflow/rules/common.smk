# Plans the run at parse time, from git-tracked files alone, and says where each receipt lies.
# All inputs are wrapped in ancient(): a job runs because its receipt is missing, never because of a time stamp.
import sys
import time
from pathlib import Path

from blurline import params as blurline_params
from blurline import plan as blurline_plan
from blurline.errors import BlurlineError
from blurline.progress import Watch
from blurline.release.summary import failures, summarise

try:
    blurline_params.refuse_overrides(Path(), config)
    PLAN = blurline_plan.load(Path()).without_rows()
except BlurlineError as error:
    sys.exit(f"error: {error}")


STARTED = time.time()


wildcard_constraints:
    shard=r"[a-z0-9][a-z0-9_-]*-\d\d\d\d\d+",
    key=r"[0-9a-f]{16}",


def receipts(*steps):
    """Input function: the receipts of these steps for the job's shard (weights has one for all shards)."""
    return lambda wildcards: [
        ancient(
            PLAN.receipt(step)
            if step == "weights"
            else PLAN.receipt(step, wildcards.shard)
        )
        for step in steps
    ]


def receipts_read_by(step):
    """Input function: the receipts that the job reads, where that depends on the shard."""
    return lambda wildcards: [
        ancient(receipt) for receipt in PLAN.inputs(step, wildcards.shard)
    ]


def shard_receipts(step):
    """The receipts that close a step."""
    return [ancient(receipt) for receipt in PLAN.shard_receipts(step)]


def start_watch():
    """Say every few seconds how far the steps are, to a person; a log stays quiet."""
    if sys.stderr.isatty():
        Watch(Path(), PLAN.images(), sys.stderr).start()


def print_summary():
    """Tell what the release holds, after a run that was asked for the release."""
    if any(job.rule.name in ("all", "checksum") for job in workflow.dag.jobs):
        print("\n" + summarise(Path(), PLAN), file=sys.stderr)


def print_failures():
    """Tell in a line each what stopped the run: Snakemake's own messages are long."""
    logs = [
        Path(log)
        for job in workflow.dag.jobs
        if not workflow.dag.finished(job)
        for log in job.log
        if Path(log).exists() and Path(log).stat().st_mtime >= STARTED
    ]
    print("\n" + failures(logs), file=sys.stderr)
