"""`--download`: fetch, check, unpack and delete the published zips of a data set.

    data_dir/download/train2017.zip.part   the bytes fetched so far
    data_dir/download/train2017.zip        complete; deleted once its files are in data_dir

Parts of a data set that are in data_dir are not fetched again, no matter who put them there.
"""

import contextlib
import dataclasses
import hashlib
import os
import posixpath

from cli.errors import UsageError, UserError
from cli.progress import bar
from pipeline.download import http, unpacking
from pipeline.storage import files, lock

_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Archive:
    """A zip as published.

    Attributes:
        host: URL below which it is published; `--download_url` replaces it.
        path: Path of the zip below `host`.
        size: Size of the zip in bytes.
        sha256: Checksum of the zip in hex.
        unpacked: Size of its files on a disk in bytes, roughly.
        holds: What is in data_dir once it is unpacked: path -> number of files in this folder, 1
            for a file.
    """

    host: str
    path: str
    size: int
    sha256: str
    unpacked: int
    holds: dict[str, int]

    @property
    def name(self) -> str:
        """The file name of the zip."""
        return posixpath.basename(self.path)

    def url(self, base: str | None) -> str:
        """Return the URL of the zip, below `base` instead of `host` if there is one."""
        return posixpath.join(base or self.host, self.path)


# No https: the host's certificate has another name. The checksums protect the content. They are
# those that tensorflow_datasets checks its own downloads with (url_checksums/).
_COCO = "http://images.cocodataset.org"
# Data set -> its zips in the order in which they are unpacked. Annotations come last: without them
# no build mistakes a half-unpacked folder for the data set.
ARCHIVES = {
    "coco2017": (
        Archive(
            _COCO,
            "zips/val2017.zip",
            size=815_585_330,
            sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            unpacked=850_000_000,
            holds={"val2017": 5_000},
        ),
        Archive(
            _COCO,
            "zips/train2017.zip",
            size=19_336_861_798,
            sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            unpacked=19_800_000_000,
            holds={"train2017": 118_287},
        ),
        Archive(
            _COCO,
            "annotations/annotations_trainval2017.zip",
            size=252_907_541,
            sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
            unpacked=840_000_000,
            holds={
                "annotations/captions_train2017.json": 1,
                "annotations/captions_val2017.json": 1,
            },
        ),
    ),
    "coco2014": (
        Archive(
            _COCO,
            "zips/val2014.zip",
            size=6_645_013_297,
            sha256="fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
            unpacked=6_800_000_000,
            holds={"val2014": 40_504},
        ),
        Archive(
            _COCO,
            "zips/train2014.zip",
            size=13_510_573_713,
            sha256="ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
            unpacked=13_800_000_000,
            holds={"train2014": 82_783},
        ),
        Archive(
            "https://cs.stanford.edu/people/karpathy/deepimagesent",
            "caption_datasets.zip",
            size=36_745_453,
            sha256="4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
            unpacked=250_000_000,
            holds={"dataset_coco.json": 1},
        ),
    ),
}


def check_usage(wanted: bool, dataset: str, data_dir: str, base: str | None) -> None:
    """Check the flags of --download.

    Args:
        wanted: Whether --download is set.
        dataset: The data set to build.
        data_dir: Where to put it.
        base: The value of --download_url, if any.

    Raises:
        UsageError: These flags do not go together.
    """
    if not wanted:
        if base:
            raise UsageError("--download_url needs --download")
        return
    if dataset not in ARCHIVES:
        raise UsageError(
            f"--download does not know --dataset={dataset}: it fetches {', '.join(ARCHIVES)}"
        )
    if not files.is_local(data_dir):
        raise UsageError(f"--download needs a --data_dir on this machine, not {data_dir}")
    if base and not base.startswith(("http://", "https://")):
        raise UsageError(f"--download_url={base}: it must begin with http:// or https://")


def obtain(dataset: str, data_dir: str, base: str | None) -> None:
    """Download the parts of `dataset` that are not in `data_dir`.

    The process may be killed at any moment: the next call continues from there.

    Args:
        dataset: A key of `ARCHIVES`.
        data_dir: A local folder.
        base: URL of a mirror; None for where the zips are published.

    Raises:
        UserError: The network, the disk or another run prevents it; the message says how to get
            the files by hand.
    """
    if not _missing(dataset, data_dir):
        print(f"{data_dir} holds {dataset}: nothing to download", flush=True)
        return
    folder = posixpath.join(data_dir, "download")
    files.make_directory(folder)
    with lock.only_job(folder, "--data_dir"):
        missing = _missing(dataset, data_dir)
        names = ", ".join(archive.name for archive in missing)
        total = sum(archive.size for archive in missing)
        print(f"downloading {names} into {data_dir}: {total / 1e9:,.2f} GB", flush=True)
        try:
            unpacking.check_space(data_dir, _peak(missing, folder))
            for archive in missing:
                _obtain_one(archive, data_dir, folder, base)
        except UserError as error:
            raise UserError(f"{error}; {_by_hand(missing, data_dir, folder)}") from None
        except OSError as error:
            where = f"{error.filename or data_dir}: {files.reason(error)}"
            raise UserError(f"{where}; {_by_hand(missing, data_dir, folder)}") from None
        with contextlib.suppress(OSError):  # The user keeps other files there.
            os.rmdir(folder)


def _by_hand(missing: list[Archive], data_dir: str, folder: str) -> str:
    urls = " ".join(archive.url(None) for archive in missing)
    return (
        "run the same command again to continue, or name a mirror with --download_url; by hand: put"
        f" {urls} into {folder} and run it again, or unpack them in {data_dir}"
    )


def _obtain_one(archive: Archive, data_dir: str, folder: str, base: str | None) -> None:
    path = posixpath.join(folder, archive.name)
    if not os.path.exists(path):
        _fetch(archive, archive.url(base), path)
    elif problem := _checksum_problem(archive, path):
        raise UserError(f"{path}: {problem}; delete it")
    unpacking.unpack(path, data_dir)
    os.sync()  # Delete the zip only when its files are on the disk.
    os.remove(path)


def _missing(dataset: str, data_dir: str) -> list[Archive]:
    """Return the archives that are not in `data_dir` completely, or whose zip is still there."""

    def is_complete(name: str, count: int) -> bool:
        path = posixpath.join(data_dir, name)
        if os.path.isdir(path):
            return sum(not entry.startswith(".") for entry in os.listdir(path)) >= count
        return os.path.isfile(path)

    def is_unpacked(archive: Archive) -> bool:
        zip_left = os.path.exists(posixpath.join(data_dir, "download", archive.name))
        return not zip_left and all(is_complete(*entry) for entry in archive.holds.items())

    return [archive for archive in ARCHIVES[dataset] if not is_unpacked(archive)]


def _peak(missing: list[Archive], folder: str) -> int:
    """Return how many more bytes the disk must hold at most.

    Each zip is deleted before the next one is fetched. Zips that are complete do not count: when
    they are unpacked, the space for their files is checked exactly.
    """
    peak = used = 0
    for archive in missing:
        path = posixpath.join(folder, archive.name)
        if not os.path.exists(path):
            fetched = http.size_of(path + ".part")
            peak = max(peak, used + archive.size - fetched + archive.unpacked)
            used += archive.unpacked - fetched
    return peak


def _fetch(archive: Archive, url: str, path: str) -> None:
    """Fetch the zip to `path` and check it."""
    part = path + ".part"
    http.fetch(url, part, archive.size)
    if problem := _checksum_problem(archive, part):
        os.remove(part)
        raise UserError(f"{url}: {problem}; what was fetched is deleted")
    os.replace(part, path)


def _checksum_problem(archive: Archive, path: str) -> str:
    """Return what is wrong with the zip at `path`; "" when it is as published."""
    digest = hashlib.sha256()
    checking = bar(http.size_of(path), f"checking {archive.name}", "B", scaled=True)
    with open(path, "rb") as file, checking as progress:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            progress.update(len(chunk))
    if digest.hexdigest() == archive.sha256:
        return ""
    return f"not as published: its sha256 is {digest.hexdigest()}, expected {archive.sha256}"
