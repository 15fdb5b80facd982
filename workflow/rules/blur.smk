# Needs: data/raw, data/merged.
# Leaves: data/blurred/<shard>.tar (released images) and .parquet (what was done to every row, and why).


rule blur:
    input:
        receipts("download", "merge"),
    output:
        "data/blurred/{shard}.{key}.json",
    log:
        "logs/blur/{shard}.{key}.log",
    benchmark:
        "logs/blur/{shard}.{key}.benchmark.tsv"
    conda:
        "../../envs/blurline.yaml"
    resources:
        mem_mb=2000,
    shell:
        "blurline run blur {wildcards.shard} {wildcards.key} --threads {threads} > {log} 2>&1"


rule blur_step:
    input:
        shard_receipts("blur"),
    output:
        "data/blurred/_step.{key}.json",
    log:
        "logs/blur/_step.{key}.log",
    conda:
        "../../envs/blurline.yaml"
    shell:
        "blurline close blur {wildcards.key} > {log} 2>&1"


rule blur_all:
    input:
        ancient(PLAN.receipt("blur")),
