"""Options of a job on Flink or Spark that are missing or wrong: one line before anything begins."""

import json
import re
import zipfile

import pytest

from cli.errors import UsageError
from pipeline.engines import beam_options

FLINK = ("--runner=FlinkRunner", "--flink_master=127.0.0.1:8081")
SPARK = ("--runner=SparkRunner", "--spark_master_url=spark://127.0.0.1:7077")
LOOPBACK = "--environment_type=LOOPBACK"


@pytest.mark.parametrize(
    "options",
    [
        (*FLINK, LOOPBACK),
        (*FLINK, LOOPBACK, "--parallelism=-1"),
        ("--runner=FlinkRunner",),
        ("--runner=FlinkRunner", "--flink_master=[local]"),
        ("--runner=FlinkRunner", "--flink_master=https://flink.example.com:443", LOOPBACK),
        ("--runner=FlinkRunner", "--flink_master=[::1]:8081", LOOPBACK),
        (*SPARK, LOOPBACK),
        ("--runner=SparkRunner", "--spark_master_url=spark://a:7077,b:7077", LOOPBACK),
        ("--runner=SparkRunner", "--spark_master_url=local[4]"),
        ("--runner=SparkRunner", "--job_endpoint=127.0.0.1:8099"),
        (*FLINK, "--environment_type=DOCKER", "--environment_config=image"),
        (*FLINK, "--environment_type=DOCKER", "--sdk_container_image=image"),
        (*FLINK, "--environment_type=PROCESS", '--environment_config={"command": "/a/boot.sh"}'),
        ("--runner=DirectRunner",),
    ],
)
def test_right_options_pass(options):
    assert beam_options.checked(options)[0][: len(options)] == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FLINK, "--flink_master=127.0.0.1:8081 needs --environment_type"),
        (SPARK, "needs --environment_type"),
        ((*FLINK, "--environment_type=PROCES"), "expected one of LOOPBACK, PROCESS, DOCKER"),
        ((*FLINK, "--environment_type=DOCKER"), "needs --environment_config=IMAGE"),
        ((*FLINK, LOOPBACK, "--parallelism=0"), "--parallelism=0: expected 1 or more"),
        ((*FLINK, LOOPBACK, "--parallelism=-5"), "--parallelism=-5: expected 1 or more"),
        (
            ("--runner=FlinkRunner", "--flink_master=a:1/", LOOPBACK),
            "expected HOST:8081, without a",
        ),
        (("--runner=FlinkRunner", "--flink_master=a", LOOPBACK), "expected HOST:8081"),
        (
            ("--runner=SparkRunner", "--spark_master_url=127.0.0.1:7077", LOOPBACK),
            "--spark_master_url=127.0.0.1:7077: expected spark://HOST:7077",
        ),
    ],
)
def test_wrong_options_are_one_line(options, message):
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        beam_options.checked(options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config", ["/opt/boot.sh", "{}", "[]", '{"comand": "x"}', '{"command": 1}']
)
def test_the_command_of_workers_is_json(config):
    options = (*FLINK, "--environment_type=PROCESS", f"--environment_config={config}")
    with pytest.raises(UsageError, match="expected JSON such as") as caught:
        beam_options.checked(options)
    example = re.search(r"\{.*\}, a", str(caught.value)[len(config) + 22 :]).group()[:-3]
    assert json.loads(example) == {"command": "/opt/captioner/boot.sh"}


@pytest.mark.parametrize("master", ["flink:geheim@h:8081", "http://flink:geheim@h:8081"])
def test_a_password_is_not_shown(master):
    with pytest.raises(UsageError, match="without a user's name") as caught:
        beam_options.checked(("--runner=FlinkRunner", f"--flink_master={master}", LOOPBACK))
    assert "geheim" not in str(caught.value)


def test_a_jar_must_be_one(tmp_path):
    jar = tmp_path / "server.jar"
    options = (*FLINK, LOOPBACK, f"--flink_job_server_jar={jar}")
    for content in (None, b"no zip"):
        if content:
            jar.write_bytes(content)
        with pytest.raises(UsageError, match="there is no jar"):
            beam_options.checked(options)
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("a", "b")
    beam_options.checked(options)
