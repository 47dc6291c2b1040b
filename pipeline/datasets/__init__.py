"""The data sets that can be built, by the name that --dataset takes."""

from cli.errors import UsageError
from pipeline.datasets.coco import Coco2017
from pipeline.datasets.coco2014 import Coco2014
from pipeline.datasets.flickr8k import Flickr8k
from pipeline.datasets.flickr30k import Flickr30k
from pipeline.datasets.own.jsonl import JsonLines
from pipeline.datasets.scenes import Scenes
from pipeline.datasets.source import DataSource
from pipeline.datasets.tfds import TfdsSource

_SOURCES: dict[str, DataSource] = {
    "coco2017": Coco2017(),
    "coco2014": Coco2014(),
    "flickr8k": Flickr8k(),
    "flickr30k": Flickr30k(),
    "jsonl": JsonLines(),
    "scenes": Scenes(),
}
TFDS = "tfds:"
NAMES = (*_SOURCES, TFDS + "NAME")


def source(name: str) -> DataSource:
    """Return the source of the data set `name`, one of `NAMES`.

    Raises:
        UsageError: No data set has this name.
    """
    if name.startswith(TFDS):
        return TfdsSource(name.removeprefix(TFDS))
    if name not in _SOURCES:
        raise UsageError(f"--dataset={name}: expected one of {', '.join(NAMES)}")
    return _SOURCES[name]
