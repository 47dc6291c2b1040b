"""The Flink and Spark clusters that the options name: there, of the right version, all used."""

import http.server
import json
import socket
import threading

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from cli.errors import UsageError, UserError
from pipeline.engines import masters


@pytest.fixture
def flink():
    """A function that serves an answer on loopback and returns its address."""
    servers = []

    def serve(answer: bytes, status: int = 200) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status if self.path == "/overview" else 404)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def overview(version: str, slots: int = 6) -> bytes:
    return json.dumps({"flink-version": version, "slots-total": slots, "taskmanagers": 2}).encode()


def look(*options: str) -> list[str]:
    return masters.look(PipelineOptions(list(options)))


def test_the_job_takes_flinks_version_and_all_its_slots(flink, capsys):
    master = flink(overview("1.20.5"))
    for address in (master, f"http://{master}"):
        options = look("--runner=FlinkRunner", f"--flink_master={address}")
        assert options == ["--flink_version=1.20", "--parallelism=6"]
        assert f"Flink 1.20.5 at {address}, 6 slots" in capsys.readouterr().out


def test_what_is_given_stays(flink):
    master = flink(overview("1.20.5"))
    given = ("--runner=flinkrunner", f"--flink_master={master}", "--parallelism=2")
    assert look(*given) == ["--flink_version=1.20"]
    # The user's own job server knows its version.
    assert look(*given, "--flink_job_server_jar=x.jar") == []


def test_a_cluster_that_grows_on_demand_keeps_beams_default(flink):
    master = flink(overview("2.2.1", slots=0))
    assert look("--runner=FlinkRunner", f"--flink_master={master}") == ["--flink_version=2.2"]


@pytest.mark.parametrize(
    "options",
    [
        ("--runner=FlinkRunner",),  # It starts a Flink of its own.
        ("--runner=FlinkRunner", "--flink_master=[local]"),
        ("--runner=FlinkRunner", "--flink_master=127.0.0.1:1", "--job_endpoint=127.0.0.1:2"),
        ("--runner=SparkRunner",),
        ("--runner=SparkRunner", "--spark_master_url=yarn"),
        ("--runner=PrismRunner",),
    ],
)
def test_nothing_is_looked_at_without_a_master(options):
    assert look(*options) == []


@pytest.mark.parametrize(
    ("running", "options", "message"),
    [
        ("1.20.5", ["--flink_version=1.19"], r"--flink_version=1.19: Flink 1.20.5 runs at 127"),
        ("1.16.3", [], r"Flink 1.16.3 runs there, and Beam has job servers for 1.19, 1.20, "),
    ],
)
def test_another_version_is_refused(flink, running, options, message):
    master = flink(overview(running))
    with pytest.raises(UsageError, match=message):
        look("--runner=FlinkRunner", f"--flink_master={master}", *options)


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (b"<html>", 200, "Expecting value"),
        (b"{}", 200, "flink-version"),
        (b"", 401, "Unauth"),
        (overview("1.20.5", "many"), 200, "many"),
        (overview("1.20.5", None), 200, "NoneType"),
    ],
)
def test_something_else_at_the_address_is_named(flink, answer, status, reason):
    master = flink(answer, status)
    with pytest.raises(UserError, match=f"no Flink answers at http://{master}.*{reason}"):
        look("--runner=FlinkRunner", f"--flink_master={master}")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.parametrize("master", ["127.0.0.1:{port}", "no-such-host.invalid:8081", "::", "a b"])
def test_a_flink_that_does_not_answer_is_one_line(master):
    master = master.format(port=free_port())
    with pytest.raises(UserError, match=r"no Flink answers at .*expected HOST:8081") as caught:
        look("--runner=FlinkRunner", f"--flink_master={master}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("master", ["spark://127.0.0.1:{port}", "spark://host", "spark://a:b"])
def test_a_spark_that_does_not_answer_is_one_line(master):
    master = master.format(port=free_port())
    with pytest.raises(UserError, match=r"no Spark answers there: .*expected spark://HOST:7077"):
        look("--runner=SparkRunner", f"--spark_master_url={master}")


def test_one_of_several_spark_masters_is_enough():
    with socket.create_server(("127.0.0.1", 0)) as server:
        running = f"127.0.0.1:{server.getsockname()[1]}"
        look(
            "--runner=SparkRunner", f"--spark_master_url=spark://127.0.0.1:{free_port()},{running}"
        )
