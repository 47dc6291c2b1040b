"""A home and an environment in which other projects have left all that could disturb us."""

import json
import os
from pathlib import Path

from tests.support.commands import users_environment

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
# Nobody answers there.
PROXIES = dict.fromkeys((*_PROXIES, "grpc_proxy"), "http://127.0.0.1:1") | {"no_proxy": ""}
_VARIABLES = {
    # What a company's or a cluster's shell exports.
    **PROXIES,
    **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"), "/nonexistent.pem"),
    "OMP_NUM_THREADS": "2,1",
    "GRPC_POLL_STRATEGY": "nonsense",
    "GRPC_VERBOSITY": "debug",
    "CUDA_VISIBLE_DEVICES": "nonsense",
    # What other projects set.
    "KERAS_BACKEND": "jax",
    "KERAS_MAX_EPOCHS": "",
    "KERAS_NNX_ENABLED": "true",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
    "TF_FUNCTION_JIT_COMPILE_DEFAULT": "true",
    "TF_SET_ONEDNN_FPMATH_MODE": "BF16",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=3 --xla_flag_of_a_newer_jax=1",
    "JAVA_TOOL_OPTIONS": "-Xmx1k",
    "_JAVA_OPTIONS": "-XX:Nonsense=1",
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
    "NLTK_DATA": "/nonexistent",
    "PILLOW_BLOCK_SIZE": "nonsense",
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "7",
    "COLUMNS": "nonsense",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "TZ": "nonsense",
    "LC_ALL": "C",
}
_KERAS = {
    "floatx": "float16",
    "epsilon": 0.1,
    "backend": "jax",
    "image_data_format": "channels_first",
    "nnx_enabled": True,
}
_FILES = {
    ".keras/keras.json": json.dumps(_KERAS),
    ".config/dask/dask.yaml": "distributed: [\n",
    ".boto": "[Boto]\nnonsense\n",
    ".aws/config": "nonsense",
    # Names of our rooms, as a script of the user may have.
    **{f"scripts/{name}.py": "raise SystemExit(9)\n" for name in ("trainer", "model", "records")},
}


def hostile_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a process in the home of such a user.

    Args:
        home: An empty folder to fill.
        variables: More variables.
    """
    for name, text in _FILES.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    path = os.pathsep.join((str(home / "scripts"), os.environ.get("PYTHONPATH", "")))
    own = {"HOME": str(home), "PYTHONPATH": path}
    return users_environment() | _VARIABLES | own | variables
