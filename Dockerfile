# Two images from one file:
#   serve   the policy server: no TensorFlow, no compiler, none of the tools that built it
#   train   training and export: TensorFlow 2.15, TF-Agents, Reverb
#
# `make image` builds it; docs/deploying.md says how to run what comes out. BASE_IMAGE is any Debian-like image in which
# `python3` is Python 3.11 and `python3 -m venv` works; every stage uses the same one, so that the interpreter a virtual
# environment was made with is the one it runs on.
ARG BASE_IMAGE=python:3.11-slim

# ---------------------------------------------------------------- tools: pip and the pinned build backend, in /build
FROM ${BASE_IMAGE} AS tools
# These arguments name the package index; one that needs a password comes in the secret `pip.conf`. A private certificate
# authority comes as the secret `ca`, with PIP_CERT=/run/secrets/ca. None of them stays in the final images.
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
ARG PIP_CERT=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY locks/serve-dev.txt locks/
# Installs only what builds a wheel, with the hashes of the lock, which holds the test tools, too.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    python3 -m venv /build \
    && awk '/^[a-z]/ { keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' \
        locks/serve-dev.txt > locks/build.txt \
    && /build/bin/pip install --quiet --require-hashes -r locks/build.txt

# ---------------------------------------------------------------- runtime: what both images stand on
FROM ${BASE_IMAGE} AS runtime
# With a read-only root no .pyc can be written at run time, and slim Python images ship the standard library without any.
# So it is compiled here once, and not at every start.
RUN python3 -c 'import compileall, re, sysconfig; \
        skip = re.compile(r"/(dist-packages|ensurepip|idlelib|lib2to3|site-packages|test|tests|tkinter|turtledemo)/"); \
        compileall.compile_dir(sysconfig.get_path("stdlib"), quiet=2, rx=skip)' \
    && echo 'rlway:x:65532:' >> /etc/group \
    && echo 'rlway:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd
ENV PATH=/opt/rlway/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# onnxruntime's wheels report to their maker unless told not to, and leave a device id and a database in $HOME.
ENV ORT_DISABLE_TELEMETRY=1
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="RLway"

# ---------------------------------------------------------------- serve
FROM tools AS serve-env
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
ARG PIP_CERT=""
COPY locks/serve.txt locks/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    python3 -m venv --without-pip /opt/rlway \
    && /build/bin/pip --python /opt/rlway/bin/python3 install --quiet --no-compile --no-deps --only-binary :all: \
        --require-hashes -r locks/serve.txt
COPY clients/python clients/python
# serve/rlway_serve/ui/static/client is a link to it: the wheel holds the modules themselves.
COPY clients/js/src clients/js/src
COPY serve serve
# unchecked-hash: Python uses the .pyc without comparing its time with the source's, which a layer may change.
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir wheels ./clients/python ./serve \
    && /build/bin/pip --python /opt/rlway/bin/python3 install --quiet --no-compile --no-deps --no-index wheels/*.whl \
    && /opt/rlway/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/rlway/lib

FROM runtime AS serve
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rlway-serve" \
      org.opencontainers.image.description="RLway's policy server: observations in, actions out, batched." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=serve-env /opt/rlway /opt/rlway
# The models are mounted here, read-only, or an image that starts FROM this one copies them here. There is no VOLUME line,
# because each run would leave an anonymous volume behind.
RUN mkdir /models
USER 65532:65532
# 8500 is for gRPC, which only --grpc-port opens.
EXPOSE 8500
EXPOSE 8080
# Liveness, without curl: 20 ms of Python. A server that is loading or draining is healthy; ask /readyz for readiness.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python3", "-ISc", "import socket, sys; s = socket.create_connection(('127.0.0.1', 8080), 2); s.sendall(b'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n'); sys.exit(b' 200 ' not in s.recv(64))"]
ENTRYPOINT ["rlway"]
CMD ["serve", "/models", "--host", "0.0.0.0", "--port", "8080"]

# ---------------------------------------------------------------- train
FROM tools AS train-env
ARG PIP_INDEX_URL=""
ARG PIP_EXTRA_INDEX_URL=""
ARG PIP_CERT=""
COPY locks/train.txt locks/
# Two steps: TF-Agents needs gym, which is published only as source and is built with the locked setuptools.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    python3 -m venv --without-pip /opt/rlway \
    && awk '/^[a-z]/ { keep = /^(setuptools|wheel|packaging)==/ } keep' locks/train.txt > locks/setuptools.txt \
    && /build/bin/pip --python /opt/rlway/bin/python3 install --quiet --no-compile --no-deps --only-binary :all: \
        --require-hashes -r locks/setuptools.txt \
    && /build/bin/pip --python /opt/rlway/bin/python3 install --quiet --no-compile --no-deps --only-binary :all: \
        --no-binary gym --no-build-isolation --require-hashes -r locks/train.txt
COPY clients/python clients/python
COPY train train
COPY export export
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir wheels \
        ./clients/python ./train ./export \
    && /build/bin/pip --python /opt/rlway/bin/python3 install --quiet --no-compile --no-deps --no-index wheels/*.whl \
    && /opt/rlway/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/rlway/lib

FROM runtime AS train
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rlway-train" \
      org.opencontainers.image.description="RLway's training and export: TF-Agents policies into bundles." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=train-env /opt/rlway /opt/rlway
# Runs and models are written below the working directory: mount a folder of yours here.
WORKDIR /project
RUN chown 65532:65532 /project
USER 65532:65532
# As process 1, Python ignores SIGTERM; SIGINT ends a training in under a second.
STOPSIGNAL SIGINT
HEALTHCHECK NONE
ENTRYPOINT ["rlway"]
CMD ["--help"]

# ---------------------------------------------------------------- without --target: the server
FROM serve
