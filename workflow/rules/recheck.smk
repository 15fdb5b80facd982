# Needs: data/weights, data/blurred.
# Leaves: data/recheck/<shard>.parquet, the faces that the detectors still find in blurred regions.


rule recheck:
    input:
        receipts("weights", "blur"),
    output:
        "data/recheck/{shard}.{key}.json",
    log:
        "logs/recheck/{shard}.{key}.log",
    benchmark:
        "logs/recheck/{shard}.{key}.benchmark.tsv"
    conda:
        "../../envs/blurline.yaml"
    threads: PLAN.params.detect.threads
    resources:
        mem_mb=PLAN.params.detect.memory_mb,
        gpu=PLAN.params.detect.gpus,
    shell:
        "blurline run recheck {wildcards.shard} {wildcards.key} --threads {threads} > {log} 2>&1"


rule recheck_step:
    input:
        shard_receipts("recheck"),
    output:
        "data/recheck/_step.{key}.json",
    log:
        "logs/recheck/_step.{key}.log",
    conda:
        "../../envs/blurline.yaml"
    shell:
        "blurline close recheck {wildcards.key} > {log} 2>&1"


rule recheck_all:
    input:
        ancient(PLAN.receipt("recheck")),
