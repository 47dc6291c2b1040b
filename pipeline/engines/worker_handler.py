"""The submitter's side of multi_processing: it starts the worker processes and watches them.

With Beam 2.77's own handler of subprocesses a job notices a dead worker by chance, and a failed
worker only once the others have done all of their work: it would hang, or fail hours later. Here
the death or the failure of one worker ends the job at once.
"""

import contextlib
import functools
import os
import shlex
import signal
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

import grpc
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    # Private API: apache-beam 2.77.
    ControlConnection,
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from google.protobuf import json_format, text_format

from cli.errors import UserError

_PATIENCE_SECONDS = 5


def environment(output_dir: str, on_death: Callable[[UserError], None]) -> SubprocessSDKEnvironment:
    """Return the environment that makes FnApiRunner start `pipeline.engines.worker_main`.

    Args:
        output_dir: Directory that the job writes to.
        on_death: Called, from another thread, when a worker process ends before the job does.
    """
    # Takes the place of Beam's handler.
    WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(
        functools.partial(_ProcessHandler, on_death)
    )
    # Beam passes the command on in UTF-8, which a path need not be.
    quoted = urllib.parse.quote(os.fsencode(output_dir))
    command = [sys.executable, "-m", "pipeline.engines.worker_main", str(os.getpid()), quoted]
    return SubprocessSDKEnvironment.from_command_string(shlex.join(command))


class _Connection(ControlConnection):
    """The requests to one worker; once it has failed, the answer to all of them is the failure."""

    def __init__(self, fail_all: Callable[[str], None]):
        super().__init__()
        self._fail_all = fail_all
        self._error: str | None = None

    @property
    def idle(self) -> bool:
        """Whether the worker has answered everything."""
        return not self._futures_by_id

    def push(self, request: Any) -> Any:
        """Send a request and return the future of its answer."""
        future = super().push(request)
        if future and self._error:
            future.set(beam_fn_api_pb2.InstructionResponse(error=self._error))
        return future

    def fail(self, error: str) -> None:
        """Answer all requests with `error`.

        Beam's own `abort` does not end a wait for data.
        """
        self._error = error
        for future in list(self._futures_by_id.values()):
            future.set(beam_fn_api_pb2.InstructionResponse(error=error))

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError):  # The worker died: `_ProcessHandler` tells.
            for response in self._input:
                self._futures_by_id.pop(response.instruction_id).set(response)
                if response.error:
                    self._fail_all(response.error)


class _ProcessHandler(GrpcWorkerHandler):
    """Starts one worker process, watches it and ends it.

    Args:
        on_death: As for `environment`.
        command: The worker's command line.
        args: What Beam gives to its handlers.
    """

    def __init__(self, on_death: Callable[[UserError], None], command: bytes, *args: Any):
        super().__init__(*args)
        self._on_death = on_death
        self._command = shlex.split(command.decode())
        self._connections = self.control_handler._connections_by_worker_id
        self.control_conn = _Connection(self._fail_all)
        self._connections[self.worker_id] = self.control_conn
        self._closing = False

    def _fail_all(self, error: str) -> None:
        """Fail the job, whichever worker it waits for."""
        for connection in list(self._connections.values()):
            connection.fail(error)

    def start_worker(self) -> None:
        """Start the process."""
        options = self.provision_info.provision_info.pipeline_options
        control = self.control_api_service_descriptor()
        logging = self.logging_api_service_descriptor()
        variables = {
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
            "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(logging),
            "PIPELINE_OPTIONS": json_format.MessageToJson(options),
            "WORKER_ID": self.worker_id,
        }
        self._process = subprocess.Popen(self._command, env=os.environ | variables)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        code = self._process.wait()
        if not self._closing:
            error = _death(code)
            self._on_death(error)
            self._fail_all(str(error))

    def close(self) -> None:
        """End the process, at once if it has not answered everything."""
        if self.data_conn._closed:  # The process died, and the runner noticed before `_watch` did.
            self._watcher.join(_PATIENCE_SECONDS)
        self._closing = True
        if not self.control_conn.idle:  # The job has failed or was interrupted.
            self._process.kill()
        super().close()

    def stop_worker(self) -> None:
        """Wait for the process to end, and kill it when it does not."""
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _death(code: int) -> UserError:
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended (exit code {code})"
    return UserError(
        f"a worker process {how}; what was finished before is kept: run the same command again"
        " to continue. If memory is short, give fewer --direct_num_workers"
    )
