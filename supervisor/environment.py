"""Which environment this is, and the evidence for it: pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FOREIGN_VARIABLES = ("APP_ENV", "PYTHON_ENV", "ENVIRONMENT", "NODE_ENV")
_SPELLINGS = {
    "production": "production",
    "prod": "production",
    "development": "development",
    "dev": "development",
    "local": "development",
    "ci": "ci",
}
# Variable -> name of the CI system; `CI` itself comes last, since nearly all set it as well.
CI_VARIABLES = {
    "GITHUB_ACTIONS": "GitHub Actions",
    "GITLAB_CI": "GitLab CI",
    "JENKINS_URL": "Jenkins",
    "BUILDKITE": "Buildkite",
    "CIRCLECI": "CircleCI",
    "TRAVIS": "Travis CI",
    "TF_BUILD": "Azure Pipelines",
    "TEAMCITY_VERSION": "TeamCity",
    "BITBUCKET_BUILD_NUMBER": "Bitbucket Pipelines",
    "DRONE": "Drone",
    "WOODPECKER_CI": "Woodpecker",
    "APPVEYOR": "AppVeyor",
    "CODEBUILD_BUILD_ID": "AWS CodeBuild",
    "CI": "CI",
}
_NO = ("", "0", "false", "no", "off")


class Detected:
    """An environment's name and why it was taken."""

    __slots__ = ("evidence", "name")

    def __init__(self, name: str, evidence: str) -> None:
        self.name = name
        self.evidence = evidence


def detect(environ: Mapping[str, str], *, container: str | None, terminal: bool) -> Detected:
    """The environment by variables, then CI systems, then container and terminal; else development.

    `container` names what shows that this is a container, or is None. `GUARD_ENV` and `--env` aren't looked at: they
    are a setting.
    """
    for name in FOREIGN_VARIABLES:
        value = environ.get(name, "")
        known = _SPELLINGS.get(value.strip().lower())
        if known:
            return Detected(known, f"{name}={value}")
    for name, system in CI_VARIABLES.items():
        value = environ.get(name, "")
        if value.strip().lower() not in _NO:
            return Detected("ci", f"{name} is set ({system})")
    if container and not terminal:
        return Detected("production", f"a container without a terminal ({container})")
    if container:
        return Detected("development", f"a container with a terminal ({container})")
    return Detected("development", "no variable, CI system or container says otherwise")
