# One image for every worker: locked dependencies from wheels, an unprivileged user, and nothing to build with.

FROM python:3.13-slim AS build
# Compiled modules go where only they are, so that the standard library's, too, are in the image: its root is read-only.
ENV PYTHONPYCACHEPREFIX=/opt/relay/pycache PATH=/opt/relay/bin:$PATH
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/relay \
    && pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY relay relay
# What built the package is of no use to what runs it.
RUN pip install --no-cache-dir --no-compile --no-build-isolation --no-deps . \
    && pip uninstall --yes hatchling editables packaging pathspec pluggy trove-classifiers pip \
    && rm -rf /opt/relay/pycache
# Served once, so that all which is loaded then is compiled.
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
# Liveness alone: some engines restart what is unhealthy, which an outage of Redis must not bring about.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["relay", "health", "--live"]
ENTRYPOINT ["relay"]
CMD ["serve"]
