# The service as an image: `docker build .` for CPUs, `docker build --target gpu .` for NVIDIA GPUs,
# `docker build --target openvino .` for x86 processors with OpenVINO,
# `docker build --target ray .` for the nodes of a Ray cluster.
#
# If your packages come from an index of your own, pass a pip.conf as a secret, so that no layer keeps
# its address or password: docker build --secret id=pip_conf,src=$HOME/.config/pip/pip.conf .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1

# --- The converter's packages.
FROM base AS converter
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# The image has its models in /models, so the wheel contains none.
ENV HATCH_BUILD_NO_HOOKS=true
WORKDIR /src
RUN python -m venv /opt/converter
COPY requirements/build.txt requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/converter/bin/pip install --require-hashes -r requirements/build.txt

# --- Every model of the store as ONNX, each compared with OpenCV's Caffe importer.
FROM converter AS models
COPY sfd sfd
COPY geometry geometry
COPY convert convert
COPY store store
COPY pyproject.toml README.md ./
RUN /opt/converter/bin/pip install --no-index --no-deps --no-build-isolation .
COPY model_store /models
ENV SFD_MODEL_STORE=/models
RUN /opt/converter/bin/sfd models build

FROM converter AS wheel
COPY . .
RUN /opt/converter/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheel .

# --- The final environment: only the service's requirements, without pip.
FROM base AS venv
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/venv
WORKDIR /src

# NumPy installs 17 MB of its own tests, which nothing here runs.
FROM venv AS venv-cpu
COPY requirements/service.txt .
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    pip --python /opt/venv/bin/python install --require-hashes -r service.txt
COPY --from=wheel /wheel /wheel
RUN pip --python /opt/venv/bin/python install --no-index --no-deps /wheel/*.whl && \
    find /opt/venv -depth -type d -path '*/numpy/*' -name tests -exec rm -rf {} +

FROM venv AS venv-gpu
COPY requirements/gpu.txt .
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    pip --python /opt/venv/bin/python install --require-hashes -r gpu.txt
COPY --from=wheel /wheel /wheel
RUN pip --python /opt/venv/bin/python install --no-index --no-deps /wheel/*.whl && \
    find /opt/venv -depth -type d -path '*/numpy/*' -name tests -exec rm -rf {} +

FROM venv AS venv-ray
COPY requirements/ray.txt .
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    pip --python /opt/venv/bin/python install --require-hashes -r ray.txt
COPY --from=wheel /wheel /wheel
RUN pip --python /opt/venv/bin/python install --no-index --no-deps /wheel/*.whl && \
    find /opt/venv -depth -type d -path '*/numpy/*' -name tests -exec rm -rf {} +

FROM venv AS venv-openvino
COPY requirements/openvino.txt .
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    pip --python /opt/venv/bin/python install --require-hashes -r openvino.txt
COPY --from=wheel /wheel /wheel
RUN pip --python /opt/venv/bin/python install --no-index --no-deps /wheel/*.whl && \
    find /opt/venv -depth -type d -path '*/numpy/*' -name tests -exec rm -rf {} +

# --- What is in the image, as CycloneDX. The build fails if the list is not complete.
FROM base AS sbom
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/sbom
COPY requirements/sbom.txt .
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/sbom/bin/pip install --require-hashes -r sbom.txt
COPY docker/sbom.py .
COPY --from=models /models /models

FROM sbom AS sbom-cpu
COPY requirements/service.txt .
COPY --from=venv-cpu /opt/venv /opt/venv
RUN /opt/sbom/bin/python sbom.py --environment /opt/venv/bin/python --lock service.txt \
    --models /models --output /sbom.cdx.json

FROM sbom AS sbom-gpu
COPY requirements/gpu.txt .
COPY --from=venv-gpu /opt/venv /opt/venv
RUN /opt/sbom/bin/python sbom.py --environment /opt/venv/bin/python --lock gpu.txt \
    --models /models --output /sbom.cdx.json

FROM sbom AS sbom-ray
COPY requirements/ray.txt .
COPY --from=venv-ray /opt/venv /opt/venv
RUN /opt/sbom/bin/python sbom.py --environment /opt/venv/bin/python --lock ray.txt \
    --models /models --output /sbom.cdx.json

FROM sbom AS sbom-openvino
COPY requirements/openvino.txt .
COPY --from=venv-openvino /opt/venv /opt/venv
RUN /opt/sbom/bin/python sbom.py --environment /opt/venv/bin/python --lock openvino.txt \
    --models /models --output /sbom.cdx.json

FROM base AS service
LABEL org.opencontainers.image.title="sfd" \
      org.opencontainers.image.description="Face detection over HTTP" \
      org.opencontainers.image.licenses="MIT"
# The user has no home directory. Libraries write their caches to the only writable folder.
# GLIBC_TUNABLES asks for huge pages, as `sfd serve` itself does; here it need not start again for it.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
    SFD_HOST=0.0.0.0 \
    SFD_PORT=8000 \
    SFD_MODEL_STORE=/models
# The base image has its own pip, and the wheels from which ensurepip installs another.
RUN find /usr -depth \( -name pip -o -name 'pip[0-9-]*' -o -name ensurepip -o -name '*.whl' \) \
        -exec rm -rf {} +
COPY docker/healthcheck.py /opt/healthcheck.py
COPY --from=models /models /models
WORKDIR /tmp
USER 10001:10001
# Also 8001, by convention, where SFD_GRPC_PORT=8001 is set: gRPC is off by default.
EXPOSE 8000
STOPSIGNAL SIGTERM
# Asks for ready, not only alive: `docker compose up --wait` and depends_on wait until it takes traffic.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-I", "-S", "/opt/healthcheck.py"]
ENTRYPOINT ["sfd"]
CMD ["serve"]

FROM service AS gpu
# The wheels of CUDA are not in the loader's default path.
ENV LD_LIBRARY_PATH=/opt/venv/lib/python3.11/site-packages/nvidia/cu13/lib:/opt/venv/lib/python3.11/site-packages/nvidia/cudnn/lib \
    SFD_PROVIDER=cuda
COPY --from=venv-gpu /opt/venv /opt/venv
COPY --from=sbom-gpu /sbom.cdx.json /opt/sbom.cdx.json

FROM service AS ray
ENV SFD_PROVIDER=cpu
USER 0:0
# Some versions of KubeRay start Ray from a login shell, which resets PATH.
RUN ln -s /opt/venv/bin/ray /usr/local/bin/ray
USER 10001:10001
COPY --from=venv-ray /opt/venv /opt/venv
COPY --from=sbom-ray /sbom.cdx.json /opt/sbom.cdx.json

FROM service AS openvino
ENV SFD_PROVIDER=openvino
COPY --from=venv-openvino /opt/venv /opt/venv
COPY --from=sbom-openvino /sbom.cdx.json /opt/sbom.cdx.json

FROM service AS cpu
ENV SFD_PROVIDER=cpu
COPY --from=venv-cpu /opt/venv /opt/venv
COPY --from=sbom-cpu /sbom.cdx.json /opt/sbom.cdx.json
