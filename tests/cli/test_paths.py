"""Paths as people type them: ~, commas, wrong case, backslashes."""

import dataclasses
import os

import pytest

from cli import command, flags, paths
from cli.errors import UsageError
from cli.flags import flag


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return str(tmp_path)


def test_home_is_expanded(home):
    assert paths.expand_user("~/x") == f"{home}/x"
    assert paths.expand_user("~") == home
    assert paths.expand_user("a,~/b,c~/d,~nobody-here/e") == f"a,{home}/b,c~/d,~nobody-here/e"


@pytest.fixture
def parse():
    @dataclasses.dataclass(frozen=True)
    class Options:
        """What a command is asked for."""

        folder: str = flag("", "Folder.")
        other: str | None = flag(None, "Folder.")
        separator: str = flag(",", "Between columns.", literal=True)

    def parse(*args: str) -> Options:
        values, _ = command.parse(["command", *args], lambda v: flags.define(Options, v))
        return flags.read(Options, values)

    return parse


def test_every_flag_expands_home_and_flagfiles_do(home, parse, tmp_path):
    (tmp_path / "a.flags").write_bytes(b"\xef\xbb\xbf--folder=~/x\r\n\r\n--other ~/y z\r\n")
    for argument in ("--flagfile=~/a.flags", "--flagfile", "-flagfile=~/a.flags"):
        more = ["~/a.flags"] if argument == "--flagfile" else []
        options = parse(argument, *more)
        assert (options.folder, options.other) == (f"{home}/x", f"{home}/y z")
    options = parse("--folder", "~/v", "--other=~/w", "--separator=~")
    assert (options.folder, options.other, options.separator) == (f"{home}/v", f"{home}/w", "~")


def test_flagfiles_in_other_encodings(parse, tmp_path):
    path = tmp_path / "a.flags"
    path.write_bytes(b"--folder=caf\xe9\n")
    assert os.fsencode(parse(f"--flagfile={path}").folder) == b"caf\xe9"
    path.write_text(f"--flagfile={path}\n")
    with pytest.raises(UsageError, match="names itself"):
        parse(f"--flagfile={path}")
    with pytest.raises(UsageError, match=r"A\.Flags: cannot be read: .*did you mean .*/a\.flags\?"):
        parse(f"--flagfile={tmp_path}/A.Flags")
    with pytest.raises(UsageError, match="--flagfile has no value"):
        parse("--flagfile")


def test_a_path_with_a_comma_that_exists_is_one_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "a", "x,y,z"):
        os.mkdir(name)
    assert paths.split("a,b") == ["a,b"]
    assert paths.split("a,b,a") == ["a,b", "a"]
    assert paths.split("a,x,y,z,none,b") == ["a", "x,y,z", "none", "b"]
    assert paths.split("none") == ["none"]


def test_a_near_name_is_offered(tmp_path):
    (tmp_path / "Photos" / "Summer 2021").mkdir(parents=True)
    (tmp_path / "Photos" / "IMG_0001.JPG").touch()
    for wrong in ("photos/img_0001.jpg", r"Photos\IMG_0001.JPG", "Photo/IMG_001.jpg"):
        found = paths.suggest(f"{tmp_path}/{wrong}")
        assert found == f"; did you mean {tmp_path}/Photos/IMG_0001.JPG?"
    assert paths.suggest(f"{tmp_path}/photos/") == f"; did you mean {tmp_path}/Photos?"
    assert paths.suggest(f"{tmp_path}/Photos/other.jpg") == ""
    assert paths.suggest(f"{tmp_path}/none/none") == ""
    assert paths.suggest(f"{tmp_path}/Photos") == paths.suggest(f"{tmp_path}/Photos/") == ""


@pytest.mark.parametrize("address", ["s3://bucket/run", "gs://b", "hdfs://host/x", "file:///tmp/x"])
def test_an_address_is_no_folder_of_this_machine(address):
    with pytest.raises(UsageError, match=f"--run_dir={address}: expected a folder of this machine"):
        paths.require_local("run_dir", address)


@pytest.mark.parametrize("path", ["", "runs/a", "/a:/b", "a://b"[1:], "~/x", "c:/runs", "1://x"])
def test_a_path_of_any_kind_is(path):
    paths.require_local("run_dir", path)
