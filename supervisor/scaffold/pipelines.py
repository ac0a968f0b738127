"""Profiles of a change and of what it changes, compared in CI: .github/workflows/guard.yml, .gitlab-ci.guard.yml."""

from __future__ import annotations

import shlex

from supervisor.scaffold.wish import Wish, text

ROUNDS = 8  # profiles of each side, in turn: so many see 20 % on a quiet machine (docs/performance-verdicts.md)
FAIL_ON = "10%"

_ABOUT = """\
# Profiles the command {rounds} times before and after the change, in turn on one machine, and fails on a regression
# past {fail_on} that isn't chance. The command has to end by itself: a test, a benchmark, a job.
"""


def github(wish: Wish) -> str:
    """A workflow for pull requests; the comparison is in the job's summary and an artifact."""
    requirements = "\n          python -m pip install -r requirements.txt" if wish.requirements else ""
    # ${{ starts an expression of the workflow's, wherever it stands.
    command = shlex.join(wish.command).replace("${{", "${{ '${{' }}")
    package = shlex.quote(wish.package).replace("${{", "${{ '${{' }}")
    return f"""\
{_ABOUT.format(rounds=ROUNDS, fail_on=FAIL_ON)}name: guard

on:
  pull_request:
  workflow_dispatch:

permissions:
  contents: read

concurrency:
  group: ${{{{ github.workflow }}}}-${{{{ github.ref }}}}
  cancel-in-progress: true

jobs:
  compare:
    runs-on: ubuntu-latest
    timeout-minutes: 60
    env:
      GUARD_ENV: ci
    steps:
      - name: The change
        uses: actions/checkout@v4
        with:
          path: current
          persist-credentials: false
      - name: What it changes
        uses: actions/checkout@v4
        with:
          path: baseline
          ref: ${{{{ github.event.pull_request.base.sha || github.event.repository.default_branch }}}}
          persist-credentials: false
      - uses: actions/setup-python@v5
        with:
          python-version: "3.11"
      - name: Install
        working-directory: current
        run: |
          python -m pip install {package}{requirements}
      - name: What guard found out about this machine
        working-directory: current
        run: guard config
      - name: Profile both
        run: |
{_rounds(command, "../profiles", 10)}
      - name: Compare
        run: >-
          guard compare --baseline profiles/baseline --current profiles/current
          --fail-on {FAIL_ON} --output reports/comparison.html
      - name: Keep the report and the profiles
        if: ${{{{ !cancelled() }}}}
        uses: actions/upload-artifact@v4
        with:
          name: guard
          path: |
            reports
            profiles
"""


def gitlab(wish: Wish) -> str:
    """A job for merge requests, to be included from .gitlab-ci.yml."""
    lines = [f"python -m pip install {shlex.quote(wish.package)}"]
    if wish.requirements:
        lines.append("python -m pip install -r requirements.txt")
    lines += [
        "guard config",
        'sides="$(mktemp -d)"',
        "git worktree prune",
        'git worktree add --detach "$sides/baseline" "$CI_MERGE_REQUEST_DIFF_BASE_SHA"',
        'ln -s "$CI_PROJECT_DIR" "$sides/current"',
        'cd "$sides"',
    ]
    script = "\n".join(f"    - {text(line)}" for line in lines)
    return f"""\
{_ABOUT.format(rounds=ROUNDS, fail_on=FAIL_ON)}# In .gitlab-ci.yml:  include: {{ local: .gitlab-ci.guard.yml }}
guard-compare:
  image: python:3.11
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
  timeout: 1h
  variables:
    GUARD_ENV: ci
    GIT_DEPTH: "0"
  script:
{script}
    - |
{_rounds(shlex.join(wish.command), "$CI_PROJECT_DIR/profiles", 6)}
    - cd "$CI_PROJECT_DIR"
    - >-
      guard compare --baseline profiles/baseline --current profiles/current
      --fail-on {FAIL_ON} --output reports/comparison.html
  artifacts:
    when: always
    expose_as: guard
    paths:
      - reports/
      - profiles/
"""


def _rounds(command: str, place: str, indent: int) -> str:
    """The shell lines that profile both sides in turn."""
    lines = [
        f"for _ in {' '.join(map(str, range(1, ROUNDS + 1)))}; do",
        "  for side in baseline current; do",
        '    (cd "$side" &&',
        f'      guard profile --cpu --mode critical --profiles-dir "{place}/$side" -- {command}) || exit 1',
        "  done",
        "done",
    ]
    return "\n".join(" " * indent + line for line in lines)
