"""The seven steps.

Each module has ALGORITHM_VERSION, FOLDER (below data/), PARAMS (dotted paths in params.yaml that
its key depends on), READS (steps whose receipts it reads) and run(job). A step never imports another step.
"""
