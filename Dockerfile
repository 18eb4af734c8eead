# The image of a worker: locked dependencies from wheels, the hot path compiled to C, an unprivileged user, no build tools.
# It has Python 3.13, as Debian 13 has; the relay also runs on Python 3.11 (Debian 12).

FROM python:3.13-slim AS wheel
WORKDIR /build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY deploy/requirements-compile.lock deploy/
RUN python -m venv venv \
    && venv/bin/pip install --no-cache-dir --only-binary :all: --require-hashes --requirement deploy/requirements-compile.lock
COPY pyproject.toml README.md LICENSE ./
COPY deploy/hatch_build.py deploy/
COPY relay relay
# 0 leaves the relay pure Python; 1 fails where it cannot be compiled, and `auto` says why, and goes on.
ARG SIGNAL_RELAY_COMPILE=auto
RUN venv/bin/pip wheel --verbose --no-build-isolation --no-deps --wheel-dir . .

FROM python:3.13-slim AS build
# All bytecode, also that of the standard library, goes into one folder, which is copied into the final image: the root
# file system is read-only when a worker runs, so Python could not write it then.
ENV PYTHONPYCACHEPREFIX=/opt/relay/pycache PATH=/opt/relay/bin:$PATH
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/relay \
    && pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes --requirement requirements.lock
COPY --from=wheel /build/*.whl ./
# Remove the packages that are needed only to build.
RUN pip install --no-cache-dir --no-compile --no-deps *.whl \
    && pip uninstall --yes hatchling editables packaging pathspec pluggy tomlkit trove-classifiers pip \
    && rm -rf /opt/relay/pycache \
    && relay --version
# Start the relay once, so that all modules that it loads are compiled.
RUN relay serve & until relay health; do kill -0 $! || exit 1; sleep 0.2; done; kill $! && wait $!

FROM python:3.13-slim
LABEL org.opencontainers.image.title="signal-relay" \
      org.opencontainers.image.description="A relay for WebRTC signaling and other small room messages." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/relay /opt/relay
ENV PATH=/opt/relay/bin:$PATH PYTHONPYCACHEPREFIX=/opt/relay/pycache PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    RELAY_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8888
# Liveness, and not readiness: some engines restart an unhealthy container, and an outage of Redis must not restart workers.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["relay", "health", "--live"]
ENTRYPOINT ["relay"]
CMD ["serve"]
