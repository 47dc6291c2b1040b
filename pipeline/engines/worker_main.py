"""The program of a worker process in the mode multi_processing: Beam's own worker, without its log.

Arguments: the process id of the submitter, and the directory that the job writes to, quoted as in
a URL.
"""

import gc
import os
import signal
import sys
import threading
import time
import urllib.parse

if __name__ == "__main__":
    # An interrupt at the terminal reaches the submitter too, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

import pipeline.engines.beam_log  # noqa: F401  (before Beam is imported)

_POLL_SECONDS = 0.2


def end_with(submitter: int) -> None:
    """End this process, whatever it is doing, once `submitter` is no longer its parent."""
    while os.getppid() == submitter:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def main(submitter: int, output_dir: str) -> None:
    """Work for `submitter` until it ends this process.

    Args:
        submitter: Process id of the parent.
        output_dir: Directory that the job writes to.
    """
    threading.Thread(target=end_with, args=(submitter,), daemon=True).start()

    from apache_beam.runners.worker import sdk_worker_main  # Private API: apache-beam 2.77.

    from pipeline.storage import lock

    # Beam prints the traceback of a failing stage. TensorFlow's C++ writes to the descriptor.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    os.dup2(sys.stderr.fileno(), 2)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    gc.freeze()  # Imported modules are no garbage; looking through them takes time.
    # Taken before any work can come: while this process lives, no other job begins.
    with lock.same_job(output_dir):
        sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main(int(sys.argv[1]), urllib.parse.unquote(sys.argv[2], errors="surrogateescape"))
