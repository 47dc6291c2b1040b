"""The submitter's end of multi_processing: worker processes whose end, or failure, ends the job.

With Beam 2.77's own handler of subprocesses a job hears of a dead worker by chance, and of a failed
one once the others have done all of their work: it would hang, or fail hours later.
"""

import contextlib
import functools
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import grpc
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    ControlConnection,
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from google.protobuf import json_format, text_format

from cli.errors import UserError
from pipeline.job import stage

_PATIENCE_SECONDS = 5


def environment(output_dir: str, failures: list[str]) -> SubprocessSDKEnvironment:
    """For FnApiRunner: each worker is a process that runs `pipeline.engines.worker_main`.

    Call arguments:
        failures: takes what went wrong, the first first: what the runner raises may only follow
            from it.
    """
    # Instead of Beam's handler.
    WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(
        functools.partial(_Worker, failures)
    )
    command = [sys.executable, "-m", "pipeline.engines.worker_main", str(os.getpid()), output_dir]
    return SubprocessSDKEnvironment.from_command_string(shlex.join(command))


class _Connection(ControlConnection):
    """Requests to one worker. Once failed, it answers those that wait, and all that follow, so."""

    def __init__(self, fail_all: Callable[[str], None]):
        super().__init__()
        self._fail_all = fail_all
        self._error: str | None = None

    @property
    def idle(self) -> bool:
        """Whether the worker has answered everything."""
        return not self._futures_by_id

    def push(self, request):
        future = super().push(request)
        if future and self._error:
            future.set(beam_fn_api_pb2.InstructionResponse(error=self._error))
        return future

    def fail(self, error: str) -> None:
        """Let `error` be the answer. (Beam's own `abort` does not end a wait for data.)"""
        self._error = error
        for future in list(self._futures_by_id.values()):
            future.set(beam_fn_api_pb2.InstructionResponse(error=error))

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError):  # a dead worker's: `_Worker` tells
            for response in self._input:
                self._futures_by_id.pop(response.instruction_id).set(response)
                if response.error:
                    self._fail_all(response.error)


class _Worker(GrpcWorkerHandler):
    """One worker process."""

    def __init__(self, failures: list[str], command: bytes, *args):
        super().__init__(*args)
        self._failures = failures
        self._command = shlex.split(command.decode())
        self._connections = self.control_handler._connections_by_worker_id
        self.control_conn = _Connection(self._fail_all)
        self._connections[self.worker_id] = self.control_conn
        self._closing = False

    def _fail_all(self, error: str) -> None:
        """Fail the job: whatever it waits for, of whichever worker."""
        self._failures.append(error)
        for connection in list(self._connections.values()):
            connection.fail(error)

    def start_worker(self) -> None:
        options = self.provision_info.provision_info.pipeline_options
        control = self.control_api_service_descriptor()
        logging = self.logging_api_service_descriptor()
        told = {
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
            "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(logging),
            "PIPELINE_OPTIONS": json_format.MessageToJson(options),
            "WORKER_ID": self.worker_id,
        }
        self._process = subprocess.Popen(self._command, env=os.environ | told)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        code = self._process.wait()
        if not self._closing:
            self._fail_all(stage.marked(_death(code)))

    def close(self) -> None:
        if self.data_conn._closed:  # it died, and the runner met that before `_watch`
            self._watcher.join(_PATIENCE_SECONDS)
        self._closing = True
        if not self.control_conn.idle:  # the job has failed or was interrupted
            self._process.kill()
        super().close()

    def stop_worker(self) -> None:
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _death(code: int) -> UserError:
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended (exit code {code})"
    return UserError(
        f"a worker process {how}; what was finished before is kept, the same command goes on from"
        " there. Where memory is short, fewer --direct_num_workers help"
    )
