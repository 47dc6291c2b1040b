"""Steps that several devices or workers share: the same as on one."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from artifacts import weights_file
from tests.support.captioner import CAPTIONS, padded, small_captioner, some_features
from tests.support.commands import ROOT, users_environment
from tests.support.hostile import PROXIES
from tests.support.training import TINY, train
from trainer import losses
from trainer.input import order
from trainer.workers.tf_config import Task, parse_tf_config

# The command, without XLA: compiling takes most of a short run's time.
_COMMAND = """
import cli.tensorflow_log
import runpy, sys
import tensorflow as tf
function = tf.function
tf.function = lambda *args, jit_compile=None, **options: function(*args, **options)
sys.argv = ["trainer.main", *sys.argv[1:]]
runpy.run_module("trainer.main", run_name="__main__")
"""
HOSTS = ["10.0.0.1:2222", "10.0.0.2:2222", "10.0.0.3:2222"]


def tf_config(hosts=HOSTS, kind="worker", index=0, **jobs) -> str:
    return json.dumps(
        {"cluster": {"worker": hosts, **jobs}, "task": {"type": kind, "index": index}}
    )


# What TF_CONFIG says.


def test_a_task_knows_its_place():
    assert parse_tf_config("") == parse_tf_config(" ") == Task(0, ())
    assert parse_tf_config(tf_config(index=2)) == Task(2, tuple(HOSTS))
    assert parse_tf_config(tf_config(["10.0.0.1:2222"])).workers == 1
    chief = {"chief": ["10.0.0.9:2222"]}
    addresses = ("10.0.0.9:2222", *HOSTS)
    assert parse_tf_config(tf_config(kind="chief", **chief)) == Task(0, addresses)
    assert parse_tf_config(tf_config(kind="worker", index=2, **chief)) == Task(3, addresses)


@pytest.mark.parametrize(
    "wrong",
    [
        "worker 0 of 2",
        "[]",
        "{}",
        "null",
        '{"cluster": {"worker": ["10.0.0.1:2222"]}}',
        '{"task": {"type": "worker", "index": 0}}',
        tf_config(index=3),
        tf_config(index=-1),
        tf_config(kind="ps"),
        tf_config(kind="evaluator"),
        tf_config(ps=["10.0.0.9:2222"]),
        tf_config("10.0.0.1:2222"),
        tf_config(["10.0.0.1", "10.0.0.2"]),
        tf_config(["10.0.0.1:2222", "10.0.0.2:99999"]),
        tf_config(["10.0.0.1:2222", "10.0.0.1:2222"]),
        tf_config(chief=["10.0.0.8:2222", "10.0.0.9:2222"]),
    ],
)
def test_a_tf_config_that_names_no_worker_is_refused_in_a_line(wrong, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", wrong)
    assert train(records_dir="none", run_dir="none") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: TF_CONFIG: expected {"cluster": {"worker": ["HOST:PORT"')
    assert f"found {wrong!r}" in line


# Shares of a batch.


def test_the_shares_of_the_workers_are_the_batch():
    def batches(worker=0, workers=1):
        keys = tf.data.Dataset.range(10)
        elements = keys.map(lambda key: (key, tf.ones([1, 3], tf.int32), key))
        dataset = order.epoch(
            elements,
            lambda keys: keys,
            window=10,
            batch_size=3,
            seed=1,
            share=slice(worker, None, workers),
        )
        return list(dataset.as_numpy_iterator())

    all_images = batches()
    assert [len(batch.inputs) for batch in all_images] == [3, 3, 3, 1]
    shares = [batches(worker, 2) for worker in range(2)]
    assert [len(batch.inputs) for batch in shares[1]] == [1, 1, 1, 0]
    for batch, first, second in zip(all_images, *shares, strict=True):
        np.testing.assert_array_equal(batch.inputs[::2], first.inputs)
        np.testing.assert_array_equal(batch.inputs[1::2], second.inputs)
        np.testing.assert_array_equal(batch.image_ids, first.image_ids)
        assert len(second.ids) == len(second.inputs)


def test_the_objectives_of_the_shares_sum_up_to_that_of_the_batch():
    captioner = small_captioner()
    weights_ = {"l2_weight": 0.3, "doubly_stochastic_weight": 0.7}
    features, ids = some_features(), padded(CAPTIONS)

    def objective(images, totals=None):
        forced = captioner.teacher_force(tf.gather(features, images), tf.gather(ids, images))
        return losses.objective(forced, captioner.decoder.dense_kernels, totals=totals, **weights_)

    real = ids.numpy()[:, :, 1:] != 0
    totals = losses.BatchTotals(float(real.sum()), float(real.any(-1).sum()), 2)
    shares = [objective(images, totals) for images in ([0, 2], [1])]
    for name, expected in objective([0, 1, 2])._asdict().items():
        total = sum(float(getattr(share, name)) for share in shares)
        assert total == pytest.approx(float(expected), rel=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["fast"], ["fast", "xla"], ["plain", "xla"]])
def test_two_devices_end_where_one_does(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainer.two_devices", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    differences = json.loads(done.stdout)
    assert differences["replicas"] == 2
    assert min(differences["norms"]) > 0.3  # clipped
    assert differences["copies"] == 0  # the devices' weights are one another's, bit for bit
    assert differences["scalars"] < 1e-4
    assert differences["weights"] < 1e-4


# Two processes.


class Workers:
    """Two workers on loopback that train one run."""

    def __init__(self, run_dir: Path, **options):
        self.run_dir, self.options = run_dir, TINY | {"run_dir": run_dir} | options
        self.processes, self.logs = [], []

    def start(self, **of_second) -> None:
        hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]
        self.logs = [self.run_dir.with_suffix(f".{index}.log") for index in range(2)]
        self.processes = []
        for index, log in enumerate(self.logs):
            options = self.options | (of_second if index else {})
            flags = [f"--{name}={value}" for name, value in options.items()]
            with open(log, "w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-c", _COMMAND, *flags],
                        cwd=ROOT,
                        env={
                            **users_environment(),
                            **PROXIES,
                            "TF_CONFIG": tf_config(hosts, index=index),
                        },
                        stdout=file,
                        stderr=subprocess.STDOUT,
                    )
                )

    def wait_for_epochs(self, count: int) -> int:
        """Until so many validations are in the history: the step of the last."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert all(process.poll() is None for process in self.processes), self.outputs()
            steps = self.scored()
            if len(steps) >= count:
                return steps[-1]
            time.sleep(0.2)
        raise AssertionError(self.outputs())

    def scored(self) -> list[int]:
        path = self.run_dir / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        scalars = (json.loads(line) for line in lines if line.endswith("\n"))
        return [line["step"] for line in scalars if line["kind"] == "val"]

    def ended(self, seconds: float = 120) -> list[int]:
        return [process.wait(seconds) for process in self.processes]

    def outputs(self) -> list[str]:
        return [log.read_text() for log in self.logs]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def workers(tmp_path, scenes_records):
    started = []

    def make(name, **options):
        started.append(Workers(tmp_path / name, records_dir=scenes_records, **options))
        return started[-1]

    yield make
    for one in started:
        one.kill()


def newest(run_dir: Path):
    return weights_file.load(str(sorted((run_dir / "checkpoints").glob("step-*.npz"))[-1]))


@pytest.mark.slow
def test_two_workers_end_where_one_does(workers, tmp_path, scenes_records):
    # 48 images: the second batch of an epoch has one, and none for the second worker.
    same = {"batch_size": 47, "epochs": 2, "dropout": 0, "l2": 1e-3}
    two = workers("two", **same)
    two.start()
    assert train(records_dir=scenes_records, run_dir=tmp_path / "one", **same) == 0
    assert two.ended() == [0, 0], two.outputs()
    (arrays, note), (expected, expected_note) = newest(two.run_dir), newest(tmp_path / "one")
    assert note["step"] == expected_note["step"] == 4
    assert arrays.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(arrays[name], expected[name], atol=1e-4, err_msg=name)
    first, second = two.outputs()
    assert "done: the best weights are" in first
    assert "CIDEr" in first
    assert "CIDEr" not in second  # the chief alone scores and writes


@pytest.mark.slow
def test_workers_that_are_killed_or_stopped_and_go_on(workers):
    two = workers("two", batch_size=24, epochs=100_000)
    for gone in (1, 0):
        two.start()
        two.wait_for_epochs(len(two.scored()) + 2)
        two.processes[gone].kill()
        left = two.processes[1 - gone]
        assert left.wait(60) == 1, two.outputs()
        output = two.outputs()[1 - gone]
        assert "Traceback" not in output
        assert output.splitlines()[-1].startswith(
            f"error: worker {1 - gone}: another of the 2 workers is gone or cannot be reached"
        )
    two.start()
    step = two.wait_for_epochs(len(two.scored()) + 1)
    assert all("resuming from step " in output for output in two.outputs())
    two.processes[1].send_signal(signal.SIGTERM)
    assert two.ended() == [75, 75], two.outputs()
    stopped = newest(two.run_dir)[1]["step"]
    assert stopped >= step
    for output in two.outputs():
        assert f"stopped at step {stopped:,}: " in output.splitlines()[-1]


@pytest.mark.slow
def test_workers_that_were_started_with_other_flags_do_not_train(workers):
    two = workers("two")
    two.start(seed=2)
    assert two.ended() == [2, 2], two.outputs()
    for output in two.outputs():
        assert output.splitlines()[-1].startswith(
            "error: the workers in TF_CONFIG do not train the"
        )
        assert "Traceback" not in output
