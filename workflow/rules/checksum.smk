# Needs: every step's closing receipt, and the tables behind them.
# Leaves: data/release: the manifest, SHA256SUMS, release.json, metrics.json; data/environment.json for git.


rule checksum:
    input:
        [
            ancient(PLAN.receipt(step))
            for step in (
                "weights",
                "download",
                "detect",
                "merge",
                "blur",
                "recheck",
            )
        ],
    output:
        report(
            "data/release/_step.{key}.json",
            caption="../report/checksum.rst",
            category="Release",
        ),
    log:
        "logs/checksum/_step.{key}.log",
    benchmark:
        "logs/checksum/_step.{key}.benchmark.tsv"
    conda:
        "../../envs/blurline.yaml"
    resources:
        mem_mb=2000,
    shell:
        "blurline run checksum _step {wildcards.key} > {log} 2>&1"
