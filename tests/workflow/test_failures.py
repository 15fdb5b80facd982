"""Failed downloads through the whole workflow: rows are accounted for, and too many stop the release."""

from tests.workflow.project import Project


def test_too_many_failed_rows_stop_the_release(project: Project) -> None:
    path = project.path / "data/sources/small.csv"
    path.write_text(path.read_text() + "".join(f"gone{n}.jpg,images/gone{n}.jpg,\n" for n in range(9)))
    output = project.snakemake(ok=False)
    assert (
        "error: params.yaml: download.max_failure_rate: 9 of 15 rows failed, 60.0% where 50.0% may (9 file not found)"
        in output
    )
    project.jobs()
    project.set("download.max_failure_rate", 0.6)
    assert "9 failed: file not found" in project.snakemake()
    assert project.jobs() == ["checksum _step"]
    assert list(project.release().values()).count("failed") == 9
