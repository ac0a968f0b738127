"""Which changes are worth a reload, and whose reloader is in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.reload.others import own_reloader
from supervisor.reload.wanted import Wanted


def tree(top: Path) -> Path:
    (top / ".git").mkdir()
    (top / ".gitignore").write_text("build/\n*.local.py\n!kept.local.py\n/only_here.py\n")
    (top / "src" / "deep").mkdir(parents=True)
    (top / "src" / ".gitignore").write_text("generated.py\n!other.local.py\n")
    for folder in (".venv", "odd-env"):
        (top / folder / "lib").mkdir(parents=True)
        (top / folder / "pyvenv.cfg").write_text("home = /usr/bin\n")
    return top


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("app.py", True), ("src/deep/app.py", True), ("settings.toml", True), (".env", True), ("page.html", True),
        ("app.log", False), ("data.sqlite3", False), ("README", False), ("src/app.pyc", False),
        (".git/hooks/x.py", False), ("src/__pycache__/app.py", False), ("node_modules/left/pad.js", False),
        (".venv/lib/x.py", False), ("odd-env/lib/x.py", False), ("profiles/monitored/x.json", False),
        ("profiles/x.py", False), ("guard.log.py", False), ("other.py", True),
        ("build/x.py", False), ("src/build/x.py", False), ("my.local.py", False), ("kept.local.py", True),
        ("only_here.py", False), ("src/only_here.py", True), ("src/generated.py", False), ("src/other.local.py", True),
        ("src/deep/generated.py", False), (".app.py.swp", False), ("app.py~", False), (".#app.py", False),
        ("4913", False),
    ],
)  # fmt: skip
def test_a_change(tmp_path: Path, path: str, counts: bool) -> None:
    top = tree(tmp_path)
    never = [str(top / "profiles"), str(top / "guard.log.py")]
    assert Wanted([str(top)], (), (), never)(str(top / path)) is counts


def test_options(tmp_path: Path) -> None:
    top = tree(tmp_path)
    wanted = Wanted([str(top)], ("*.txt", "src/*.md"), ("drafts", "src/*.bak.txt"), ())
    found = {path: wanted(str(top / path)) for path in
             ("a.txt", "a.py", "src/a.md", "a.md", "drafts/a.txt", "src/drafts/a.txt", "src/a.bak.txt")}  # fmt: skip
    assert [path for path, counts in found.items() if counts] == ["a.txt", "src/a.md"]


def test_a_gitignore_that_changes_counts_from_then_on(tmp_path: Path) -> None:
    top = tree(tmp_path)
    wanted = Wanted([str(top / "src")], (), (), ())
    assert wanted(str(top / "src" / "new.py"))
    assert not wanted(str(top / "src" / "x.local.py"))  # the repository's, above the watched directory
    (top / "src" / ".gitignore").write_text("new.py\nand more\n")
    assert not wanted(str(top / "src" / "new.py"))


@pytest.mark.parametrize(
    ("line", "whose"),
    [
        ("uvicorn app:app --reload", "uvicorn"), ("python -m uvicorn --reload app:app", "uvicorn"),
        ("python -m flask --app x run --debug", "flask"), ("flask run --debug --no-reload", None), ("flask run", None),
        ("python3 -Xdev manage.py runserver", "django"), ("python manage.py runserver --noreload", None),
        ("gunicorn --reload app:app", "gunicorn"), ("fastapi dev main.py", "fastapi"), ("node --watch app.js", "node"),
        ("bun --hot app.ts", "bun"), ("watchmedo auto-restart -- python app.py", "watchmedo"),
        ("python app.py --reload", None), ("python -c --reload", None), ("python", None), ("uvicorn app:app", None),
    ],
)  # fmt: skip
def test_whose_reloader(line: str, whose: str | None) -> None:
    found = own_reloader(line.split(), {})
    assert (found[0] if found else None) == whose


def test_flask_in_debug_mode_by_its_variable() -> None:
    assert own_reloader(["flask", "run"], {"FLASK_DEBUG": "1"}) is not None
    assert own_reloader(["flask", "run"], {"FLASK_DEBUG": "0"}) is None
