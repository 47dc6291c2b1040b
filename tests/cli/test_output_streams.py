"""Text that the encoding of an output cannot hold, above all names that are not UTF-8."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.commands import ROOT, run_process

# Prints its arguments with a caption, as serving does, complains of them, and keeps them.
_COMMAND = """
import json, sys
import cli.tensorflow_log
from cli.command import run
from cli.errors import UserError
from records.canonical_json import to_json

def main(values, rest):
    for path in rest:
        open(path).close()
        print(f"{path}\\tein Hund l\\u00e4uft \\u72d7")
        print(f"warning: {path}", file=sys.stderr)
    with open("names.json", "wb") as file:
        file.write(to_json(rest))
    print("\\ud800")
    raise UserError(f"{rest[0]}: a\\nb")

run(main, lambda values: None, others="positional")
"""
NAMES = [b"caf\xe9.jpg", "caf\u00e9 \u732b.jpg".encode(), b"good.jpg"]
SETTINGS = {
    "utf8": {"LANG": "C.utf8"},
    "C": {"LC_ALL": "C"},
    "LANG=C": {"LANG": "C"},
    "C without UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0"},
    "coerced": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"LANG": "C.utf8", "PYTHONIOENCODING": "ascii"},
    "strict": {"LANG": "C.utf8", "PYTHONIOENCODING": "utf-8:strict"},
}


def start(folder, setting: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run the command with `NAMES`, in the environment of a user with this setting."""
    for name in NAMES:
        with open(os.fsencode(folder) + b"/" + name, "w"):
            pass
    own = ("LC_", "LANG", "PYTHON", "TF_CPP_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(own)}
    return subprocess.run(
        [os.fsencode(sys.executable), b"-c", _COMMAND.encode(), *NAMES],
        cwd=folder,
        env=kept | setting | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_script_finds_every_file_again(tmp_path, setting):
    done = start(tmp_path, setting)
    expected = [name + "\tein Hund läuft 狗".encode() for name in NAMES]
    assert done.stdout.splitlines() == [*expected, rb"\ud800"], done.stderr
    messages = done.stderr.decode("ascii" if "ascii" in setting.values() else "utf-8")
    assert messages.startswith("warning: caf\\udce9.jpg\n")
    assert messages.endswith("error: caf\\udce9.jpg: a\\nb\n")  # one line
    assert "Traceback" not in messages and len(messages.splitlines()) == 4
    assert done.returncode == 1
    kept = json.loads((tmp_path / "names.json").read_bytes().decode("utf-8"))
    assert [name.encode("utf-8", "surrogateescape") for name in kept] == NAMES


def test_text_that_the_encoding_holds_is_in_that_encoding(tmp_path):
    done = start(tmp_path, {"LANG": "C.utf8", "PYTHONIOENCODING": "latin-1"})
    assert done.stdout.splitlines()[2] == b"good.jpg\tein Hund l\xe4uft " + "狗".encode()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(tmp_path, closed):
    program = (
        "import cli.tensorflow_log; from cli.command import run;"
        "run(lambda values, rest: print('done') or open('did', 'w').close(), lambda values: None)"
    )
    shell = f'exec "$0" -c "$1" {closed}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert (tmp_path / "did").exists()


def test_a_traceback_is_seen_when_tensorflow_was_imported_on_the_way():
    program = (
        "from cli.command import run\n"
        "def main(values, rest):\n"
        "    import cli.tensorflow_log\n"
        "    raise ValueError('a fault of ours')\n"
        "run(main, lambda values: None)"
    )
    done = run_process("-c", program)
    assert done.returncode == 1 and "ValueError: a fault of ours" in done.stderr
