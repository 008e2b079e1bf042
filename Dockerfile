# The image that launch/kubernetes.py names: docs/kubernetes.md.
#
#   docker build --tag=registry.example/thaw:cpu .
#   docker build --tag=registry.example/thaw:gpu --build-arg=EXTRA=gpu .

FROM python:3.12-slim

# Any other id than this is not USER in launch/kubernetes.py.
RUN useradd --create-home --uid=1000 thaw && install --directory --owner=thaw /runs

WORKDIR /opt/thaw

# Only the packages, none of our code: a change of the code does not install them again.
ARG EXTRA=""
COPY setup.py pyproject.toml constraints.txt LICENSE ./
RUN case "$EXTRA" in ""|gpu) ;; *) echo "EXTRA is '$EXTRA': it must be empty or gpu"; exit 2 ;; esac \
    && pip install --no-cache-dir --constraint=constraints.txt ".${EXTRA:+[$EXTRA]}" \
    && rm -rf build thaw.egg-info

COPY trainer trainer
COPY thaw thaw
COPY launch launch
COPY configs configs

ENV PYTHONPATH=/opt/thaw
USER 1000
ENTRYPOINT ["python", "-m", "launch.train"]
