# Stand-ins for the images of other projects, for tests on a machine without a registry: the same programs from
# Debian's packages, at the same paths. Programs that Debian does not have are replaced by a stand-in page.
# hadolint global ignore=DL3008
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS redis
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/* && install -d -o 999 -g 999 /data
USER 999:999
WORKDIR /data
ENTRYPOINT []
CMD ["redis-server"]

FROM ${PYTHON_IMAGE} AS prometheus
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus wget \
    && rm -rf /var/lib/apt/lists/* && install -d -o 65534 -g 65534 /prometheus
USER 65534
ENTRYPOINT ["/usr/bin/prometheus"]

FROM ${PYTHON_IMAGE} AS alertmanager
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus-alertmanager wget \
    && rm -rf /var/lib/apt/lists/* && install -d -o 65534 -g 65534 /alertmanager
USER 65534
ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]

FROM ${PYTHON_IMAGE} AS grafana
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
    && install -d -o 472 -g 472 /var/lib/grafana
COPY page.py /page.py
USER 472
ENTRYPOINT ["python3", "/page.py", "3000"]

FROM ${PYTHON_IMAGE} AS collector
COPY page.py /page.py
USER 10001
ENTRYPOINT ["python3", "/page.py", "13133"]
