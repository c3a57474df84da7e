# The wheel is built from the sdist, as every other installation gets it.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# Dependencies first and by hash: this layer is kept until the lock changes.
COPY requirements/runtime.txt requirements/runtime.txt
RUN python -m venv /opt/orderkit \
    && /opt/orderkit/bin/pip install --require-hashes --only-binary :all: -r requirements/runtime.txt
RUN pip install build==1.6.1 hatchling==1.33.0
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY migrations migrations
COPY print-pack print-pack
COPY docs/decisions docs/decisions
COPY docs/runbook.md docs/runbook.md
COPY orderkit orderkit
RUN python -m build --no-isolation --outdir /dist \
    && /opt/orderkit/bin/pip install --no-deps /dist/*.whl \
    && /opt/orderkit/bin/pip check

FROM python:3.13-slim
# A fixed id, so that volumes and policies can name it. The home holds the development secret key, and the database
# and queue files where no PostgreSQL and Redis are given.
RUN groupadd --system --gid 10001 orderkit \
    && useradd --system --uid 10001 --gid orderkit --home-dir /var/lib/orderkit --no-create-home orderkit \
    && install --directory --owner=orderkit --group=orderkit --mode=0700 /var/lib/orderkit
COPY --from=build /opt/orderkit /opt/orderkit
ENV PATH=/opt/orderkit/bin:$PATH PYTHONUNBUFFERED=1 ORDERKIT_HOME=/var/lib/orderkit
WORKDIR /var/lib/orderkit
USER 10001:10001
EXPOSE 8000
# Liveness only: an API whose database is away is unready, and a restart would not bring the database back.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["orderkit"]
CMD ["serve", "--host", "0.0.0.0"]
