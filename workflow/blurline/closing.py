"""Closing a step: when all its shards are done, remove what is no longer planned and write the step's receipt."""

from blurline import receipts
from blurline.job import Job
from blurline.receipts import CLOSING


def run(job: Job) -> None:
    """Check the receipt of every shard, prune the folder so that DVC never tracks orphans, and close the step."""
    for below, shard in job.inputs:
        job.input(below, shard)
    folder = job.root / "data" / job.folder
    planned = {shard: receipts.file_name(shard, key) for (_, shard), key in job.inputs.items()}
    leftover = []
    for name in receipts.files(folder):
        owner = receipts.owner(name)
        stale_receipt = receipts.parse_name(name) is not None and name != planned.get(owner)
        if owner != CLOSING and (owner not in planned or stale_receipt):
            leftover.append(name)
    job.confirm()  # as a commit does: what a newer plan has made must not be taken for leftovers
    receipts.remove(folder, leftover)
    with job.output() as output:
        output.counts["shards"] = len(planned)
