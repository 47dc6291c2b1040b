"""The small server needs no TensorFlow, so nothing that it imports may import it."""

import subprocess
import sys
from pathlib import Path

from tests.support.commands import ROOT
from tests.support.house import python_files

_FREE = ("serving/bundle/", "serving/web/", "serving/server.py")
_ASK = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(sorted({"tensorflow", "keras", "tqdm", "nltk", "absl.testing", "google.protobuf"}
             & sys.modules.keys()))
"""


def test_what_the_small_server_imports_imports_no_tensorflow():
    paths = [path for path in python_files() if path.as_posix().startswith(_FREE)]
    assert Path("serving/bundle/lite_runtime.py") in paths
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    done = subprocess.run(
        [sys.executable, "-c", _ASK, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr
