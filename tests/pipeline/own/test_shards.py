"""What tars and Parquet share: detection, builds that are killed, memory."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from cli.errors import UserError
from tests.pipeline.own.folders import build_own, check_kill
from tests.support.commands import ROOT
from tests.support.parquets import hub, image, write_parquet
from tests.support.records import jpeg
from tests.support.tars import img2dataset, write_tar

PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


def test_they_are_recognised(tmp_path, capsys):
    img2dataset(tmp_path / "tars", 0, range(3))
    hub(tmp_path / "hub", "train", 1, range(3))
    for name, what in (
        ("tars", f"found {tmp_path}/tars/00000.tar, a tar shard of a WebDataset"),
        (
            "hub",
            f"found {tmp_path}/hub/data/train-00000-of-00001.parquet, Parquet with images from",
        ),
    ):
        build_own(None, tmp_path / name, tmp_path / f"{name}_records")
        assert what in capsys.readouterr().out


def test_what_is_not_theirs_is_not_recognised(tmp_path):
    """img2dataset's table of URLs has no images; a damaged file is none; two layouts are two."""
    write_parquet(tmp_path / "d/00000.parquet", {"url": ["http://a"], "caption": ["a dog"]})
    with pytest.raises(UserError, match="no data set that is known lies there"):
        build_own(None, tmp_path / "d", tmp_path / "records")
    (tmp_path / "d/00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="no data set that is known lies there"):
        build_own(None, tmp_path / "d", tmp_path / "records")
    (tmp_path / "d/00000.parquet").unlink()
    write_tar(tmp_path / "d/images.tar", [(f"{n}.jpg", jpeg(n)) for n in range(3)])
    with pytest.raises(UserError, match="no data set that is known lies there"):
        build_own(None, tmp_path / "d", tmp_path / "records")
    (tmp_path / "d/images.tar").write_bytes(b"?" * 2000)
    with pytest.raises(UserError, match=r"images\.tar: damaged tar, or no tar"):
        build_own(None, tmp_path / "d", tmp_path / "records")
    (tmp_path / "d/images.tar").unlink()
    img2dataset(tmp_path / "d", 1, range(3))
    write_parquet(tmp_path / "d/00000.parquet", {"image": [image(0)], "caption": ["a dog"]})
    with pytest.raises(UserError, match=r"may be several data sets; say .*=webdataset .*=parquet "):
        build_own(None, tmp_path / "d", tmp_path / "records")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), PROCESSES], ids=["one", "processes"])
@pytest.mark.parametrize("dataset", ["webdataset", "parquet"])
def test_a_build_that_is_killed(tmp_path, dataset, workers):
    if dataset == "parquet":
        hub(tmp_path / "own", "train", 2, range(400), rows=30)
    else:
        for shard in range(4):
            img2dataset(tmp_path / "own", shard, range(100 * shard, 100 * shard + 100))
    check_kill(dataset, tmp_path / "own", tmp_path / "records", *workers, val_fraction=0.2)


def picture(number: int) -> bytes:
    """A JPEG of 20 KB that no compression makes smaller."""
    return jpeg()[:-2] + np.random.default_rng(number).bytes(19_000) + b"\xff\xd9"


def peak_megabytes(dataset: str, data_dir, out) -> float:
    """The peak memory of a build as a process of its own."""
    flags = {"dataset": dataset, "data_dir": data_dir, "output_dir": out, "min_word_count": 1}
    code = (
        "import re, sys; from cli import command; from pipeline import build_records as b;"
        "code = b.main(*command.parse(sys.argv, b.define_flags, others='passed'));"
        "status = open('/proc/self/status').read();"  # getrusage would count the parent's.
        "print('peak', re.search('VmHWM: *\\t* *(\\d+)', status)[1], code)"
    )
    argv = [sys.executable, "-c", code, *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    name, kilobytes, exit_code = done.stdout.splitlines()[-1].split()
    assert (name, exit_code) == ("peak", "0"), done.stderr
    return int(kilobytes) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["webdataset", "parquet"])
def test_memory_does_not_grow_with_the_data(tmp_path, dataset):
    """Four times the images, in one tar or one row group: their 150 MB more would show."""
    peaks = []
    for count in (2500, 10_000):
        numbers = range(count)
        folder = tmp_path / str(count)
        if dataset == "parquet":
            values = [{"bytes": picture(n), "path": f"{n}.jpg"} for n in numbers]
            columns = {"image": values, "caption": ["a dog runs"] * count}
            write_parquet(folder / "0.parquet", columns, rows=count)
            del values, columns
        else:
            members = (
                (f"{n}.{end}", data)
                for n in numbers
                for end, data in (("jpg", picture(n)), ("txt", b"a dog runs"))
            )
            write_tar(folder / "0.tar", members)
        peaks.append(peak_megabytes(dataset, folder, tmp_path / "records"))
        shutil.rmtree(folder)
    print(peaks)
    assert peaks[1] - peaks[0] < 40
