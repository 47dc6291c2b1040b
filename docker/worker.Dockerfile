# Workers of the job on Flink, Spark or Dataflow: Beam's image with this program in it. In the
# project's folder:
#
#   docker build --file docker/worker.Dockerfile --tag captioner-worker .
#   python -m pipeline.build_records --runner=FlinkRunner --flink_master=HOST:8081 \
#       --environment_type=DOCKER --environment_config=captioner-worker ...
#
# Workers that compute --features need --build-arg EXTRAS=features; those that read or write s3://
# need EXTRAS=build,aws.
FROM apache/beam_python3.11_sdk:2.77.0
ARG EXTRAS=build
WORKDIR /captioner
COPY setup.py pyproject.toml README.md requirements.lock ./
COPY cli cli
COPY records records
COPY pixels pixels
COPY scenes scenes
COPY model model
COPY pipeline pipeline
RUN pip install --no-cache-dir --constraint requirements.lock ".[${EXTRAS}]"
