# One image for the web server and the executors. It is run by an ordinary user and writes only to /data and /tmp,
# so its root may be read-only.
#
#   docker build -t studio .
#   docker build -t studio --build-arg TORCH_INDEX=<the index of the CPU build that pytorch.org names> .
#   docker build -t studio --build-arg WEIGHTS="vqgan-imagenet-16384" .
#
# torch's ordinary build brings CUDA's libraries along: for GPUs the machine needs only its driver and the
# container toolkit. BASE may be any image with Python 3.11 or newer.
ARG BASE=python:3.11-slim

FROM ${BASE} AS packages
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /studio
COPY requirements.txt .
RUN python -m venv /venv \
    && if [ -n "$TORCH_INDEX" ]; then \
         /venv/bin/pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)"; \
       fi \
    && /venv/bin/pip install -r requirements.txt

FROM ${BASE}
RUN groupadd --gid 10001 studio \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin studio \
    && install -d -o studio -g studio /data
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    STUDIO_DATA_DIR=/data STUDIO_WEB__HOST=0.0.0.0
WORKDIR /studio

# Weights come before the code, so that a change of code downloads nothing again.
COPY config.yaml settings.py ./
COPY networks networks
COPY weights weights
ARG WEIGHTS=""
RUN for set in $WEIGHTS; do python -m weights download "$set" || exit 1; done

COPY . .
RUN python -m compileall -q .

USER 10001:10001
VOLUME /data
EXPOSE 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=6s --start-period=2m --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://localhost:8501/health', timeout=5)"]

# An executor: docker run --no-healthcheck studio python job_executor.py
CMD ["python", "webapp.py"]
