"""What every command settles in its interpreter before anything else."""

import os
import subprocess
import sys

import pytest

import cli
from tests.support.commands import ROOT
from tests.support.house import allowed_imports


def test_every_room_is_looked_for():
    assert {"cli", *cli._ROOMS} == allowed_imports().keys()


@pytest.mark.parametrize("name", ["model.py", "records/__init__.py"])
def test_a_module_that_hides_a_room_is_named(tmp_path, name):
    module = tmp_path / name
    module.parent.mkdir(exist_ok=True)
    module.write_text("raise SystemExit(9)\n")
    (tmp_path / "metrics").mkdir()  # A folder of data hides nothing.
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "evaluation.score", "--results=a", "--annotations=b"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    room = name.removesuffix(".py").split("/")[0]
    line = f"error: {module} hides this program's own package {room!r} in {ROOT}; rename it"
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path, closed):
    # A library that writes to descriptor 2 would write into our file, and so would its children.
    code = (
        "import cli, os, subprocess, sys; file = open(sys.argv[1], 'w'); os.write(2, b'log');"
        "subprocess.run(['sh', '-c', 'echo log; echo log >&2']); file.write('ours')"
    )
    path = tmp_path / "file"
    shell = f'exec "$@" {closed}'
    command = ["sh", "-c", shell, "sh", sys.executable, "-c", code, str(path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert path.read_text() == "ours"


@pytest.mark.parametrize(
    ("error", "code", "end"),
    [
        ("KeyboardInterrupt", 130, "error: interrupted; run the same command again"),
        ("ValueError", 1, "ValueError"),
    ],
)
def test_an_interrupt_while_modules_are_imported_is_one_line(error, code, end):
    command = [sys.executable, "-c", f"import cli; raise {error}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (code, end)
    assert ("Traceback" in done.stderr) == (error == "ValueError")


def test_an_error_that_python_would_make_of_a_warning_is_none():
    code = "import cli, warnings; warnings.warn('old'); print('done')"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        ("ImportError('no memory')", "error: TensorFlow cannot be loaded: no memory; give it more"),
        (
            "ValueError('floatx')",
            "error: /home/keras.json: Keras cannot start with these settings (",
        ),
    ],
)
def test_a_tensorflow_that_does_not_start_is_one_line(tmp_path, failure, line):
    (tmp_path / "keras.py").write_text(f"raise {failure}\n")
    done = subprocess.run(
        [sys.executable, "-c", "import cli.start_tensorflow"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "KERAS_HOME": "/home"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        ("serving.server", "fastapi", "serve-lite"),
        ("serving.server", "uvicorn", "serve-lite"),
        ("serving.caption", "keras", "serve"),
        ("trainer.main", "keras", "train"),
        ("evaluation.main", "keras", "train"),
        ("pipeline.build_records", "apache_beam", "build"),
    ],
)
def test_a_package_that_is_not_installed_is_one_line(command, missing, extra, tmp_path):
    hide = "import sys\n\nclass Hide:\n    def find_spec(self, name, path=None, target=None):\n"
    hide += f"        if name == {missing!r}:\n"
    hide += "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
    (tmp_path / "sitecustomize.py").write_text(f"{hide}\nsys.meta_path.insert(0, Hide())\n")
    done = subprocess.run(
        [sys.executable, "-m", command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    line = f"error: this command needs the package {missing}, which is not installed: run"
    assert done.stderr.startswith(line) and f".[{extra}]" in done.stderr
    assert done.stderr.count("\n") == 1
