"""What a worker process of multi_processing runs: Beam's own worker, without its log."""

import os
import signal
import sys

# An interrupt at the terminal reaches the submitter too, who says what to do.
signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import pipeline.quiet  # noqa: E402, F401  (before Beam is imported)

if __name__ == "__main__":
    from apache_beam.runners.worker import sdk_worker_main

    # It prints the traceback of a failing step, and hands it to the submitter, who shows it.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    sdk_worker_main.main(sys.argv)
