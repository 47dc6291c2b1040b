"""The data sets that can be built, by the name that --dataset takes."""

from collections.abc import Callable

from cli.errors import UsageError
from pipeline.datasets.coco import Coco2017
from pipeline.datasets.coco2014 import Coco2014
from pipeline.datasets.flickr8k import Flickr8k
from pipeline.datasets.flickr30k import Flickr30k
from pipeline.datasets.options import SourceOptions
from pipeline.datasets.own.jsonl import JsonLines
from pipeline.datasets.scenes import Scenes
from pipeline.datasets.source import DataSource
from pipeline.datasets.tfds import TfdsSource

_SOURCES: dict[str, Callable[[SourceOptions], DataSource]] = {
    "coco2017": Coco2017,
    "coco2014": Coco2014,
    "flickr8k": Flickr8k,
    "flickr30k": Flickr30k,
    "jsonl": JsonLines,
    "scenes": Scenes,
}
TFDS = "tfds:"
NAMES = (*_SOURCES, TFDS + "NAME")
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
