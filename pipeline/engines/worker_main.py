"""What a worker process of multi_processing runs: Beam's own worker, without its log.

Arguments: the submitter's process id and the directory that the job writes to.
"""

import gc
import os
import signal
import sys
import threading
import time

# An interrupt at the terminal reaches the submitter too, which ends its workers.
signal.signal(signal.SIGINT, signal.SIG_IGN)

import pipeline.engines.beam_log  # noqa: E402, F401  (before Beam is imported)

_POLL_SECONDS = 0.2


def end_with(submitter: int) -> None:
    """End this process, whatever it does, once its parent is not `submitter` any more."""
    while os.getppid() == submitter:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(int(sys.argv[1]),), daemon=True).start()

    from apache_beam.runners.worker import sdk_worker_main

    from pipeline.storage import lock

    # It prints the traceback of a failing step, and hands it to the submitter, who shows it.
    # TensorFlow's C++ writes to the descriptor itself.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    os.dup2(sys.stderr.fileno(), 2)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    gc.freeze()  # what is imported is no garbage, and is not to be looked through for it
    # Taken before any work can come: while this process lives, no other job begins.
    with lock.same_job(sys.argv[2]):
        sdk_worker_main.main(sys.argv)
