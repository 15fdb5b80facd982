# Needs: data/detections, the decisions in data/review that concern the shard; and where boxes in data/annotations
# concern it, these and data/raw (for the orientation of the images).
# Leaves: data/merged/<shard>.parquet, the boxes with verdicts: what will be blurred, and who decided.


rule merge:
    input:
        receipts_read_by("merge"),
    output:
        "data/merged/{shard}.{key}.json",
    log:
        "logs/merge/{shard}.{key}.log",
    benchmark:
        "logs/merge/{shard}.{key}.benchmark.tsv"
    conda:
        "../../envs/blurline.yaml"
    resources:
        mem_mb=1000,
    shell:
        "blurline run merge {wildcards.shard} {wildcards.key} --threads {threads} > {log} 2>&1"


rule merge_step:
    input:
        shard_receipts("merge"),
    output:
        "data/merged/_step.{key}.json",
    log:
        "logs/merge/_step.{key}.log",
    conda:
        "../../envs/blurline.yaml"
    shell:
        "blurline close merge {wildcards.key} > {log} 2>&1"


rule merge_all:
    input:
        ancient(PLAN.receipt("merge")),
