# Needs: data/weights, data/raw.
# Leaves: data/detections/<shard>.parquet, every box over detect.candidate.


rule detect:
    input:
        receipts("weights", "download"),
    output:
        "data/detections/{shard}.{key}.json",
    log:
        "logs/detect/{shard}.{key}.log",
    benchmark:
        "logs/detect/{shard}.{key}.benchmark.tsv"
    conda:
        "../../envs/blurline.yaml"
    threads: PLAN.params.detect.threads
    resources:
        mem_mb=PLAN.params.detect.memory_mb,
        gpu=PLAN.params.detect.gpus,
    shell:
        "blurline run detect {wildcards.shard} {wildcards.key} --threads {threads} > {log} 2>&1"


rule detect_step:
    input:
        shard_receipts("detect"),
    output:
        "data/detections/_step.{key}.json",
    log:
        "logs/detect/_step.{key}.log",
    conda:
        "../../envs/blurline.yaml"
    shell:
        "blurline close detect {wildcards.key} > {log} 2>&1"


rule detect_all:
    input:
        ancient(PLAN.receipt("detect")),
