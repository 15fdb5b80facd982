# Needs: params.yaml (detect.weights, detect.sha256).
# Leaves: data/weights, the detector's weights with their SHA-256 checked.


rule weights:
    output:
        "data/weights/_step.{key}.json",
    log:
        "logs/weights/_step.{key}.log",
    benchmark:
        "logs/weights/_step.{key}.benchmark.tsv"
    priority: 100  # wrong weights are known before much else is done
    conda:
        "../../envs/blurline.yaml"
    resources:
        mem_mb=2000,
    shell:
        "blurline run weights _step {wildcards.key} > {log} 2>&1"


rule weights_all:
    input:
        ancient(PLAN.receipt("weights")),
