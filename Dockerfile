# The `ferry` program in an image, built from the repository alone. The base images are arguments, so that this
# also builds where only local ones exist.
ARG BUILD_IMAGE=rust:1-bookworm
ARG RUN_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --package gateway

FROM ${RUN_IMAGE}
COPY --from=build /src/target/release/ferry /usr/local/bin/ferry
ENTRYPOINT ["ferry"]
