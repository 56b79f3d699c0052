# LLM Anatomy with the locked packages, for the processor: `docker build -t llm-anatomy .`
# Runs in the folder that is mounted:
#   docker run --rm -v "$PWD":/work llm-anatomy run --configfile mine.yaml
# For a card: `--build-arg TORCH_INDEX=https://pypi.org/simple`, and `docker run --gpus all`.
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache

COPY envs/requirements.lock /opt/llm-anatomy/envs/requirements.lock
RUN pip install --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' /opt/llm-anatomy/envs/requirements.lock)"
RUN grep -v '^torch==' /opt/llm-anatomy/envs/requirements.lock > /tmp/rest.lock \
    && pip install --no-deps -r /tmp/rest.lock

COPY . /opt/llm-anatomy
RUN pip install --no-deps --no-build-isolation /opt/llm-anatomy && pip check

WORKDIR /work
ENTRYPOINT ["llm-anatomy"]
CMD ["--help"]
