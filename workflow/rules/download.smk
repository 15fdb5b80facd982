# Needs: the shard's rows of data/sources.
# Leaves: data/raw/<shard>.tar (bytes as retrieved) and .parquet (one row per manifest row, failures included).


rule download:
    output:
        "data/raw/{shard}.{key}.json",
    log:
        "logs/download/{shard}.{key}.log",
    benchmark:
        "logs/download/{shard}.{key}.benchmark.tsv"
    conda:
        "../../envs/blurline.yaml"
    threads: PLAN.params.download.threads
    resources:
        # Each thread may hold a decoded image of max_pixels, 4 bytes a pixel; one at a time decodes, and a progressive
        # JPEG takes 6 more for its coefficients.
        mem_mb=lambda _, threads: 1000
        + PLAN.params.download.max_pixels * (4 * threads + 6) // 10**6,
    shell:
        "blurline run download {wildcards.shard} {wildcards.key} --threads {threads} > {log} 2>&1"


rule download_step:
    input:
        shard_receipts("download"),
    output:
        "data/raw/_step.{key}.json",
    log:
        "logs/download/_step.{key}.log",
    conda:
        "../../envs/blurline.yaml"
    shell:
        "blurline close download {wildcards.key} > {log} 2>&1"


rule download_all:
    input:
        ancient(PLAN.receipt("download")),
