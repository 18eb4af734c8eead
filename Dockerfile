# One image for every worker: locked dependencies in a virtual environment, an unprivileged user, and nothing to build with.

FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/relay \
    && /opt/relay/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY relay relay
# What built the package is of no use to what runs it.
RUN /opt/relay/bin/pip install --no-cache-dir --no-build-isolation --no-deps . \
    && /opt/relay/bin/pip uninstall --yes hatchling editables pathspec pluggy trove-classifiers pip

FROM python:3.13-slim
COPY --from=build /opt/relay /opt/relay
ENV RELAY_HOST=0.0.0.0 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8888
# Liveness only: whoever sends clients here asks /health.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/opt/relay/bin/python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8888/health/live', timeout=2)"]
ENTRYPOINT ["/opt/relay/bin/relay"]
CMD ["serve"]
