"""Environment variables that others define: they may be empty, a list, nonsense, or not for us.

Nothing of ours is named here. Each function takes what it needs of a variable and drops the rest.
"""

import os
import re

# What may stay of TensorFlow's and Keras' variables: workers, log, devices, threads, memory and the
# place of cached weights. All others choose another way to compute.
_HARMLESS = re.compile(r"TF_CONFIG|TF_(CPP|FORCE|GPU|GRPC|NUM|PER_DEVICE)_\w+|KERAS_HOME")
_OF_TENSORFLOW = re.compile(
    r"(TF|KERAS)_\w+|(ONEDNN|DNNL)_DEFAULT_FPMATH_MODE|NVIDIA_TF32_OVERRIDE|XLA_FLAGS"
)
# XLA ends the process at a flag that it does not know, as those of a newer JAX.
_HARMLESS_XLA_FLAGS = ("--xla_gpu_cuda_data_dir=", "--xla_cpu_max_isa=", "--xla_dump_")
_OF_JAVA = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")


def threads(name: str) -> int | None:
    """Return the number of threads that a variable asks for, 1 or more; None if it names none.

    Args:
        name: A variable such as OMP_NUM_THREADS, whose lists name the outermost level first.
    """
    first = os.environ.get(name, "").split(",")[0].strip()
    return int(first) if re.fullmatch(r"0*[1-9][0-9]{0,5}", first, re.ASCII) else None


def forget_tensorflows() -> None:
    """Remove every variable from which TensorFlow or Keras would compute other numbers, or die."""
    xla_flags = os.environ.get("XLA_FLAGS", "").split()
    for name in list(os.environ):
        if _OF_TENSORFLOW.fullmatch(name) and not (_HARMLESS.fullmatch(name) and os.environ[name]):
            del os.environ[name]
    kept = [text for text in xla_flags if text.startswith(_HARMLESS_XLA_FLAGS)]
    if kept:
        os.environ["XLA_FLAGS"] = " ".join(kept)


def connect_directly() -> None:
    """Let gRPC connect the processes of a job as we say, not by a proxy or options of the shell.

    Downloads and object stores do not use gRPC: they keep their proxies.
    """
    for name in list(os.environ):
        if name.startswith("GRPC_"):
            del os.environ[name]
    # An empty grpc_proxy is stronger than http_proxy and https_proxy.
    os.environ |= {"GRPC_VERBOSITY": "NONE", "grpc_proxy": ""}


def without_javas() -> dict[str, str]:
    """Return the environment for a Java program that takes its options from us alone."""
    return {name: text for name, text in os.environ.items() if name not in _OF_JAVA}
