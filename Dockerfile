# syntax=docker/dockerfile:1.7
# ddpm with its GPU kernels, for machines with an NVIDIA driver of version 580 or later. docs/GPU.md says how to use it.
#
#   docker build --build-arg COMMIT=$(git rev-parse --short=10 HEAD) -t ddpm .
#   docker run --rm --gpus all -v "$PWD":/mnt ddpm train --preset ddpm-cifar10 --data /mnt/data/cifar10

ARG CUDA=13.0.2
ARG DEBIAN=ubuntu24.04

FROM nvidia/cuda:${CUDA}-devel-${DEBIAN} AS build
ARG RUST=1.89.0
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl g++ \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/root/.cargo/bin:/usr/local/cuda/bin:$PATH
RUN curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain ${RUST}
WORKDIR /source
COPY . .
# The sources come without their history; the commit is told.
ARG COMMIT
RUN DDPM_REQUIRE_NVCC=1 DDPM_COMMIT=${COMMIT} cargo build --release --locked --bin ddpm \
 && strip target/release/ddpm

# The program holds its kernels and asks the driver for the rest: no CUDA library is needed.
FROM nvidia/cuda:${CUDA}-base-${DEBIAN}
COPY --from=build /source/target/release/ddpm /usr/local/bin/ddpm
COPY --from=build /source/LICENSE-APACHE /source/LICENSE-MIT /usr/share/doc/ddpm/
WORKDIR /mnt
ENTRYPOINT ["ddpm"]
CMD ["--help"]
