"""Variables that others define are empty, a list or nonsense, and nothing of it reaches us."""

import types

import pytest

from cli import foreign_variables


@pytest.mark.parametrize(
    ("text", "threads"),
    [
        (None, None),
        ("", None),
        ("4", 4),
        (" 4 ", 4),
        ("4,2", 4),
        ("0", None),
        ("-1", None),
        ("many", None),
        ("2.5", None),
        ("٣", None),
        (",4", None),
        ("9" * 5000, None),
    ],
)
def test_threads(monkeypatch, text, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if text is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert foreign_variables.threads("OMP_NUM_THREADS") == threads


@pytest.fixture
def variables(monkeypatch):
    """An environment that the functions change in place of the process's."""
    environ: dict[str, str] = {}
    monkeypatch.setattr(foreign_variables, "os", types.SimpleNamespace(environ=environ))
    return environ


def test_tensorflow_keeps_devices_threads_and_log_only(variables):
    kept = {
        "TF_CONFIG": "{}",
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "TF_NUM_INTRAOP_THREADS": "1",
        "KERAS_HOME": "/weights",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    variables |= kept | {
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_USE_LEGACY_KERAS": "1",
        "KERAS_MAX_EPOCHS": "",
        "KERAS_FLOATX": "float16",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
        "NVIDIA_TF32_OVERRIDE": "1",
        "XLA_FLAGS": "--xla_cpu_enable_fast_math=true --flag_of_jax",
    }
    foreign_variables.forget_tensorflows()
    assert variables == kept


def test_xla_keeps_flags_that_say_where_and_not_what(variables):
    variables["XLA_FLAGS"] = " --xla_gpu_cuda_data_dir=/cuda --nonsense --xla_dump_to=/tmp"
    foreign_variables.forget_tensorflows()
    assert variables["XLA_FLAGS"] == "--xla_gpu_cuda_data_dir=/cuda --xla_dump_to=/tmp"


def test_an_empty_place_of_weights_is_none(variables):
    variables["KERAS_HOME"] = ""  # Keras would write into the working directory.
    foreign_variables.forget_tensorflows()
    assert "KERAS_HOME" not in variables


def test_grpc_connects_directly_and_downloads_by_proxy(variables):
    proxies = {"http_proxy": "http://proxy:1", "https_proxy": "http://proxy:1", "no_proxy": "a"}
    variables |= proxies | {"GRPC_POLL_STRATEGY": "nonsense", "grpc_proxy": "http://proxy:1"}
    foreign_variables.connect_directly()
    assert variables == proxies | {"GRPC_VERBOSITY": "NONE", "grpc_proxy": ""}
