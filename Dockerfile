# The command `blip` in a container.
#
#   docker build -t blip .                                          for a CPU
#   docker build -t blip:cuda --build-arg TORCH_BACKEND=cu128 .     for NVIDIA GPUs
#
#   docker run --rm -v "$PWD:/work" blip caption hf:Salesforce/blip-image-captioning-base photo.jpg
#   docker run --rm -p 8000:8000 -v "$PWD:/work" blip serve runs/captioner --host 0.0.0.0
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" blip:cuda capfilt web.json
#
# The wheels of torch bring CUDA along, so that both stand on the same image.
FROM python:3.12-slim-bookworm AS build

ARG TORCH_BACKEND=cpu
ARG EXTRAS=fast,heif,index,language,onnx,ray,ray-serve,remote,serve,video

ENV PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH
WORKDIR /source
RUN python -m venv /venv && pip install "uv==0.9.*"
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN uv pip install --torch-backend="$TORCH_BACKEND" ".[$EXTRAS]"

FROM python:3.12-slim-bookworm

COPY --from=build /venv /venv
RUN useradd --create-home --uid 1000 blip
USER 1000
# Downloaded checkpoints lie in ~/.cache/huggingface; mount a volume there to keep them.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /work
EXPOSE 8000
ENTRYPOINT ["blip"]
CMD ["--help"]
