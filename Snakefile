# blurline: from source manifests to a privacy-aware release. `snakemake --cores all` makes data/release.


# Params: params.yaml is read by Snakemake, by DVC and by every job.
configfile: "params.yaml"


# What `snakemake --report report.html` opens with.
report: "workflow/report/workflow.rst"


# The plan: shards, and the key in the name of every receipt.
include: "workflow/rules/common.smk"
# The steps, in the order of the flow.
include: "workflow/rules/weights.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/detect.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/blur.smk"
include: "workflow/rules/recheck.smk"
include: "workflow/rules/checksum.smk"


localrules:
    all,
    weights_all,
    download_all,
    detect_all,
    merge_all,
    blur_all,
    recheck_all,


# Targets.
rule all:
    default_target: True
    input:
        ancient(PLAN.receipt("checksum")),
        ancient(PLAN.receipt("blur")),


onstart:
    start_watch()


onsuccess:
    print_summary()


onerror:
    print_failures()
