# The container that a training in the cloud runs in (docs/cloud.md). The code comes with each job; this brings Python,
# the packages, and the GPU's libraries: --build-arg GPU=gpu for TensorFlow, GPU=gpu-jax for several replicas.
FROM python:3.11.13-slim-bookworm
ARG GPU=gpu
# where Vertex AI puts the driver
ENV PATH=/usr/local/nvidia/bin:${PATH} LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/usr/local/nvidia/lib
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1
WORKDIR /opt/ferlab
RUN useradd --create-home --uid 1000 ferlab
RUN python -m pip install --quiet "uv==0.13.9"
COPY requirements.lock gpu.lock gpu-jax.lock ./
RUN uv pip install --python "$(command -v python)" --require-hashes --compile-bytecode -r requirements.lock
RUN uv pip install --python "$(command -v python)" --require-hashes --compile-bytecode -r "${GPU}.lock"
COPY pyproject.toml README.md LICENSE executors.lock ./
COPY conf conf
COPY experiments experiments
COPY src src
RUN uv pip install --python "$(command -v python)" --no-deps --compile-bytecode .
USER ferlab
WORKDIR /home/ferlab
CMD ["python", "-m", "ferlab", "--help"]
