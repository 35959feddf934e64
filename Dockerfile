# segfw in an image: docker build -t segfw .
#
#   --build-arg TORCH_INDEX=https://pypi.org/simple   PyTorch for CUDA instead of for processors (or an index of another CUDA)
#   --build-arg EXTRAS=onnx,dicom                    extras of pyproject.toml
#   --build-arg PYTHON=3.13                          3.11 to 3.13
#
# Versions are those of constraints.txt. It runs as a user without privileges, or as any other (--user), in /work.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt build hatchling
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY segfw segfw
RUN python -m build --wheel --no-isolation --outdir /wheels

FROM python:${PYTHON}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=""
RUN --mount=type=bind,from=build,source=/source/constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir --constraint /constraints.txt \
      --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple torch
RUN --mount=type=bind,from=build,source=/source/constraints.txt,target=/constraints.txt \
    --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /constraints.txt "$(echo /wheels/segfw-*.whl)${EXTRAS:+[${EXTRAS}]}" \
    && useradd --create-home --uid 1000 segfw \
    && install --directory --owner segfw /work
# for users that have no home here
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
USER 1000
WORKDIR /work
ENTRYPOINT ["segfw"]
CMD ["--help"]
