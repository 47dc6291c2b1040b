"""Beam's own options: which engine they ask for, and what is refused before anything starts."""

import os
import stat
import zipfile

import pytest

from cli.errors import UsageError
from pipeline.engines import beam_options

DIRECT = "apache_beam.runners.direct.direct_runner"


@pytest.mark.parametrize(
    "name",
    [
        *("DirectRunner", "direct", "SwitchingDirectRunner", "TestDirectRunner", "FnApiRunner"),
        *(f"{DIRECT}.DirectRunner", f"{DIRECT}.SwitchingDirectRunner"),
        *("apache_beam.runners.DirectRunner", "apache_beam.runners.test.TestDirectRunner"),
    ],
)
def test_names_of_the_direct_runner_start_no_prism(name):
    assert beam_options.checked([f"--runner={name}"]) == ((f"--runner={name}",), "local")


@pytest.mark.parametrize(
    "name", ["PrismRunner", "prism", "apache_beam.runners.portability.prism_runner.PrismRunner"]
)
def test_prism_is_not_downloaded_unasked(name):
    with pytest.raises(UsageError, match=r"^--runner=PrismRunner needs --prism_location=PATH"):
        beam_options.checked([f"--runner={name}"])


def test_a_file_that_is_no_program_is_refused_and_stays_as_it_is(tmp_path):
    """Beam would make it executable, and start it three times."""
    file = tmp_path / "prism"
    for kind, message in (("missing", "there is no such file"), ("folder", "no such file")):
        place = tmp_path if kind == "folder" else file
        with pytest.raises(UsageError, match=f"^--prism_location={place}: .*{message}.*go install"):
            beam_options.checked(["--runner=PrismRunner", f"--prism_location={place}"])
    file.write_text("notes")
    before = stat.S_IMODE(os.stat(file).st_mode)
    with pytest.raises(UsageError, match="neither a program that may be run"):
        beam_options.checked(["--runner=PrismRunner", f"--prism_location={file}"])
    assert stat.S_IMODE(os.stat(file).st_mode) == before


def test_what_may_be_prism_is_taken(tmp_path):
    program, packed = tmp_path / "prism", tmp_path / "prism.zip"
    program.touch(mode=0o755)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("prism", "")
    for place in (program, packed, "https://github.com/apache/beam/releases/tag/v2.77.0"):
        args = ("--runner=PrismRunner", f"--prism_location={place}")
        assert beam_options.checked(args) == (args, "beam")
    args = ("--runner=PrismRunner", "--job_endpoint=localhost:8073")
    assert beam_options.checked(args) == (args, "beam")
