"""The data sets that can be built, by the name that --dataset takes."""

from collections.abc import Callable

from cli.errors import UsageError
from pipeline.datasets.coco import Coco2017
from pipeline.datasets.coco2014 import Coco2014
from pipeline.datasets.flickr8k import Flickr8k
from pipeline.datasets.flickr30k import Flickr30k
from pipeline.datasets.options import SourceOptions
from pipeline.datasets.own.coco import CocoCaptions
from pipeline.datasets.own.imagefolder import ImageFolders
from pipeline.datasets.own.jsonl import JsonLines
from pipeline.datasets.own.shards.parquet import Parquet
from pipeline.datasets.own.shards.webdataset import WebDataset
from pipeline.datasets.own.tables.delimited import Csv, Tsv
from pipeline.datasets.scenes import Scenes
from pipeline.datasets.source import DataSource
from pipeline.datasets.tfds import TfdsSource

_SOURCES: dict[str, Callable[[SourceOptions], DataSource]] = {
    "coco2017": Coco2017,
    "coco2014": Coco2014,
    "flickr8k": Flickr8k,
    "flickr30k": Flickr30k,
    "jsonl": JsonLines,
    "coco": CocoCaptions,
    "csv": Csv,
    "tsv": Tsv,
    "imagefolder": ImageFolders,
    "webdataset": WebDataset,
    "parquet": Parquet,
    "scenes": Scenes,
}
TFDS = "tfds:"
NAMES = (*_SOURCES, TFDS + "NAME")
# Data sets of which each lies in a folder in one way. What else such a folder may be is not asked.
_KNOWN = ("coco2017", "coco2014", "flickr8k", "flickr30k")
_NO_OPTIONS = SourceOptions()


def source(name: str, options: SourceOptions = _NO_OPTIONS) -> DataSource:
    """Return the source of the data set `name`, one of `NAMES`.

    Args:
        name: The data set.
        options: What the user says about it.

    Raises:
        UsageError: No data set has this name.
    """
    if name.startswith(TFDS):
        return TfdsSource(name.removeprefix(TFDS))
    if name not in _SOURCES:
        raise UsageError(f"--dataset={name}: expected one of {', '.join(NAMES)}")
    return _SOURCES[name](options)


def check_options(name: str, options: SourceOptions) -> None:
    """Check what the user says about the data set `name`.

    Raises:
        UsageError: No data set has this name, or it does not read one of the options that have a
            value, or they contradict each other.
    """
    options.check()
    reads = source(name).reads
    for option, value in options.given().items():
        if option not in reads:
            readers = [other for other in _SOURCES if option in source(other).reads]
            raise UsageError(
                f"--{option}={value}: --dataset={name} does not read this flag;"
                f" {', '.join(readers) or 'none'} would"
            )


def recognise(data_dir: str, options: SourceOptions) -> dict[str, str]:
    """Return the data sets that may lie in `data_dir`: name -> what lies there, in words.

    Args:
        data_dir: A folder or a file.
        options: What the user says about the data set; those that do not read it are left out.
    """
    others = tuple(name for name in _SOURCES if name not in (*_KNOWN, "scenes"))
    # Drawn scenes lie as COCO 2017 does.
    for names in (("scenes",), _KNOWN, others):
        sources = {name: source(name, options) for name in names}
        candidates = {
            name: what
            for name, candidate in sources.items()
            if options.given().keys() <= set(candidate.reads)
            and (what := candidate.looks_like(data_dir))
        }
        if candidates:
            return candidates
    return {}
