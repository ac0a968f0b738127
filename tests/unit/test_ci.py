"""What is said to a CI system."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import ci
from supervisor.environment import CI_VARIABLES


@pytest.mark.parametrize("variable", CI_VARIABLES)
def test_a_system_is_known_by_its_variable(variable: str) -> None:
    assert ci.system({variable: "true"}) == CI_VARIABLES[variable]
    assert ci.system({variable: "false"}) is None


def test_a_name_beats_the_variable_that_all_set() -> None:
    assert ci.system({"CI": "true", "GITLAB_CI": "true"}) == "GitLab CI"
    assert ci.system({}) is None


def test_a_summary_is_appended_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("before\n")
    assert ci.put_summary({"GITHUB_STEP_SUMMARY": str(path)}, "words\n")
    assert path.read_text() == "before\nwords\n"
    path.write_text("")
    assert ci.put_summary({"GITHUB_STEP_SUMMARY": str(path)}, "line\n" * 400_000)
    assert path.stat().st_size < 1 << 20 and "left out" in path.read_text()[-100:]
    assert not ci.put_summary({}, "words")
    assert not ci.put_summary({"GITHUB_STEP_SUMMARY": str(tmp_path)}, "words")


def test_annotations_name_files_of_the_workspace_only(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a,b:c.py").write_text("")
    remarks = [
        ci.Annotation("error", "Slow: er", "100 % more\nand ::error::x", "app/a,b:c.py", 7),
        ci.Annotation("warning", "t", "text", "/etc/passwd", 1),
        ci.Annotation("warning", "t", "text", "../" + tmp_path.name + "x/y.py"),
        ci.Annotation("warning", "t", "text", str(tmp_path / "app" / "a,b:c.py")),
    ]
    assert ci.workflow_commands(remarks, str(tmp_path)) == [
        r"::error file=app/a%2Cb%3Ac.py,line=7,title=Slow%3A er::100 %25 more\x0aand ::error::x",
        "::warning title=t::text",
        "::warning title=t::text",
        "::warning file=app/a%2Cb%3Ac.py,title=t::text",
    ]
    assert "file=" not in ci.workflow_commands(remarks, "")[0]


def test_ten_of_a_level() -> None:
    remarks = [ci.Annotation(level, "t", str(n)) for n in range(15) for level in ("error", "warning")]
    assert len(ci.workflow_commands(remarks, "")) == 20
