"""What the user is told when a job on Flink, Spark, Prism or Dataflow fails."""

import re

import grpc

from cli.errors import UsageError, UserError

AGAIN = "what is finished is kept: run the same command again to continue"
# A line of a traceback that names an exception of Python or Java and what it says.
_EXCEPTION = re.compile(r"^(?:Caused by: )?([\w.$]*(?:Error|Exception): .*)$", re.MULTILINE)
# What Beam adds to the message of a stage's error, and puts before an engine's.
_STAGE = re.compile(r" \[while running '[^']*'\]$")
_STATE = re.compile(r"^Pipeline \S+ failed in state [A-Z]+: ")
_OURS = re.compile(r"\bcli\.errors\.(UserError|UsageError): (.*)$", re.MULTILINE)
_LONGEST_LINE = 500
# What Flink and Spark say, and what it means here.
_MEANINGS = (
    (
        r"No module named '(?:cli|pipeline|pixels|records|scenes)\b",
        "its workers lack this program: install it where they run, or give --setup_file=./setup.py",
    ),
    (
        r"Process died with exit code|Cannot run program|java\.io\.IOException: error=2,",
        "on a worker's machine the command of --environment_config cannot be run, or fails: run it"
        " there by hand; the engine's log has its output",
    ),
    (
        r"Received exit code \d+ for command 'docker",
        "Docker of a worker's machine cannot run the image of --environment_config",
    ),
    (
        r"Service failed to start up",
        "Beam's job server ended at its start: is the Java of --job_server_java_launcher, or of the"
        " PATH, version 11 or newer, and --flink_job_server_jar or --spark_job_server_jar a job"
        " server?",
    ),
    (
        r"Unable to fetch remote job server jar|Unable to parse jar URL",
        "Beam's job server cannot be had: name its file by --flink_job_server_jar or"
        " --spark_job_server_jar, or a running one by --job_endpoint",
    ),
    (
        r"stopped SparkContext|All masters are unresponsive",
        "Spark did not take the application, or ended it: is --spark_master_url its master, and of"
        " the job server's version? The master's page says more",
    ),
    (
        r"java\.net\.ConnectException",
        "the connection to the cluster was lost: is its master still there?",
    ),
)


def explained(error: Exception, runner: str) -> UserError:
    """Return what to tell the user when the job has failed with `error`.

    Args:
        error: What Beam raised.
        runner: Name of Beam's runner, as the user gave it.
    """
    if isinstance(error, UserError):  # The runner works in this process.
        return type(error)(_STAGE.sub("", str(error)))
    if ours := _OURS.search(str(error)):
        kind, message = ours.groups()
        return (UsageError if kind == "UsageError" else UserError)(_STAGE.sub("", message))
    if isinstance(error, FileNotFoundError) and str(error.filename).endswith("java"):
        return UserError(
            f"--runner={runner}: there is no {error.filename}, and Beam's job server needs Java;"
            " install it, name it by --job_server_java_launcher, or name a running job server by"
            " --job_endpoint"
        )
    if isinstance(error, grpc.FutureTimeoutError):
        return UserError(
            f"--runner={runner}: no job server answered at --job_endpoint within"
            " --job_server_timeout (300 seconds unless given); is it running there?"
        )
    line = _one_line(error)
    on_cluster = "prism" not in runner.lower()  # Prism has no Java and no machines.
    for pattern, meaning in _MEANINGS:
        if on_cluster and re.search(pattern, line):
            return UserError(f"--runner={runner}: {meaning} ({line}); {AGAIN}")
    return UserError(f"--runner={runner}: the job failed: {line}; {AGAIN}")


def _one_line(error: Exception) -> str:
    """Return what an error says, without the tracebacks that engines put into its text."""
    text = _STATE.sub("", str(error)) or type(error).__name__
    exceptions = _EXCEPTION.findall(text)
    text = exceptions[-1] if exceptions else text
    return " ".join(text.split())[:_LONGEST_LINE]
