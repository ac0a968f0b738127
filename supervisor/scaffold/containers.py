"""Dockerfile.guard, compose.guard.yaml and guard-deployment.yaml."""

from __future__ import annotations

from supervisor.scaffold.wish import (
    DOCKERFILE,
    GRACE_S,
    GUARD,
    PROFILES,
    SETTINGS_FILE,
    STOP_TIMEOUT_S,
    USER_ID,
    Wish,
    sized,
    text,
    words,
)
from supervisor.settings import BY_NAME

_ENTRYPOINT = (GUARD, "run", "--")
_PATIENT = (GUARD, "run", "--stop-timeout", f"{STOP_TIMEOUT_S}s", "--")  # where the time to stop is ours
_IN_IMAGE = "/etc/guard.env"


def _exec_form(values: tuple[str, ...]) -> str:
    r"""A list of words as a Dockerfile takes it. Not every reader of them knows that `\\"` ends a string."""
    return words(values).replace("\\\\", "\\u005c")


def dockerfile(wish: Wish) -> str:
    """A stage with guard as the ENTRYPOINT: on an image that has the application, or on Python's with it copied."""
    lines = [
        f"# guard as the init of {wish.image}. First, once, in a checkout of guard:",
        "#   docker build -t guard --target guard .",
        "# then here:",
        f"#   docker build -t {wish.image} -f {DOCKERFILE} .",
        "",
        "ARG GUARD_IMAGE=guard:latest",
        "FROM ${GUARD_IMAGE} AS guard",
        "",
        f"FROM {wish.base or 'docker.io/library/python:3.11-slim'}",
        "# guard brings its own interpreter and libraries: it runs in any image and changes nothing of it.",
        "COPY --from=guard /opt/guard /opt/guard",
    ]
    if wish.base:
        lines += [
            f"COPY {SETTINGS_FILE} {_IN_IMAGE}",
            f"ENV GUARD_ENV_FILE={_IN_IMAGE} \\",
            f"    GUARD_PROFILES_DIR={PROFILES}",
        ]
    else:
        lines += ["WORKDIR /app"]
        if wish.requirements:
            lines += [
                "COPY requirements.txt ./",
                "RUN python3 -m pip install --no-cache-dir --disable-pip-version-check -r requirements.txt",
            ]
        lines += [
            "COPY . .",
            f"RUN mkdir -p {PROFILES} \\",
            f" && chown {USER_ID}:0 {PROFILES} \\",
            f" && chmod 0770 {PROFILES}",
            f"ENV GUARD_PROFILES_DIR={PROFILES}",
            f"USER {USER_ID}",
        ]
    lines += [
        "# A setting that isn't accepted stops the build here, not the container's start.",
        f"RUN {_exec_form((GUARD, 'config'))}",
        f"ENTRYPOINT {_exec_form(_ENTRYPOINT)}",
        f"CMD {_exec_form(wish.command)}",
    ]
    return "\n".join(lines) + "\n"


def compose(wish: Wish) -> str:
    """A service with guard as its init, a memory limit, and a volume for evidence."""

    def literal(value: str) -> str:  # Compose reads $NAME as a variable
        return value.replace("$", "$$")

    build = f"    build:\n      context: .\n      dockerfile: {DOCKERFILE}\n" if wish.dockerfile else ""
    return f"""\
# Alone:                 docker compose -f compose.guard.yaml up
# On top of your own:    docker compose -f compose.yaml -f compose.guard.yaml up
# The image needs guard in /opt/guard (guard init --dockerfile).
services:
  {wish.name}:
{build}    image: {text(literal(wish.image))}
    # No `init: true`: guard is the init.
    entrypoint: {words(_PATIENT)}
    command: {words(tuple(map(literal, wish.command)))}
    environment:
      GUARD_PROFILES_DIR: {PROFILES}
    volumes:
      - guard-profiles:{PROFILES}
    # guard takes this limit for its thresholds; what it should be: guard runs --limits
    mem_limit: {sized(wish.memory_bytes, "m", "b")}
    stop_grace_period: {GRACE_S}s
    restart: on-failure

volumes:
  guard-profiles:
"""


def kubernetes(wish: Wish) -> str:
    """A Deployment: limits, time to stop, a place for evidence, and the summary that `kubectl describe pod` shows."""

    def literal(value: str) -> str:  # Kubernetes reads $(NAME) as a variable, and $$ as $
        return value.replace("$", "$$")

    memory = sized(wish.memory_bytes, "Mi")
    evidence = sized(2 * BY_NAME["keep-bytes"].default, "Mi")
    return f"""\
# The image needs guard in /opt/guard (guard init --dockerfile).
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {text(wish.name)}
  labels:
    app.kubernetes.io/name: {text(wish.name)}
spec:
  replicas: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: {text(wish.name)}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {text(wish.name)}
    spec:
      # guard forwards TERM and never hurries the command; after this time the kubelet kills.
      terminationGracePeriodSeconds: {GRACE_S}
      securityContext:
        runAsNonRoot: true
        runAsUser: {USER_ID}
        fsGroup: {USER_ID}
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: {text(wish.name)}
          image: {text(wish.image)}
          command: {words(_PATIENT)}
          args: {words(tuple(map(literal, wish.command)))}
          env:
            - name: GUARD_ENV
              value: production
            - name: GUARD_PROFILES_DIR
              value: {PROFILES}
          resources:
            # What they should be: guard runs --limits
            requests:
              cpu: 100m
              memory: {memory}
            limits:
              memory: {memory}
          # On a critical state and at the end guard writes a summary there; kubectl describe pod shows it.
          terminationMessagePath: /dev/termination-log
          terminationMessagePolicy: File
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts:
            - name: guard-profiles
              mountPath: {PROFILES}
            - name: tmp
              mountPath: /tmp
      volumes:
        # On the node's disk: it outlives the container, not the pod. guard itself keeps at most half of it.
        - name: guard-profiles
          emptyDir:
            sizeLimit: {evidence}
        - name: tmp
          emptyDir: {{}}
"""
