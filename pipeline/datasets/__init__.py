"""The sources. Each has:

    IDS  the space of its image ids: "coco", "flickr", or "own" for ids that mean something in this
         source only; in a space that is shared, the same id is the same picture
    splits(data_dir, need_train) -> (names of the splits that are there, remarks for the user)
    read(data_dir, split) -> Listing
    image_size(path) -> bytes of an image, told without reading it; None where it is missing. A
        source that cannot tell gives a str that changes when the image does
    read_image(path) -> its content; None where it is missing

`splits` runs before the job and raises UserError naming what is missing and where it comes from;
the others run on workers. `need_train` is False when a vocabulary is given; `path` is that of the
listing.
"""

from types import ModuleType

from cli.errors import UsageError
from pipeline.datasets import coco, coco2014, flickr8k, flickr30k, jsonl, scenes, tfds

_MODULES = {
    "coco2017": coco,
    "coco2014": coco2014,
    "flickr8k": flickr8k,
    "flickr30k": flickr30k,
    "jsonl": jsonl,
    "scenes": scenes,
}
TFDS = "tfds:"
NAMES = (*_MODULES, TFDS + "NAME")


def source(name: str) -> ModuleType | tfds.Source:
    """What reads the data set `name`, one of `NAMES`.

    Raises:
        UsageError: there is none of that name.
    """
    if name.startswith(TFDS):
        return tfds.Source(name.removeprefix(TFDS))
    if name not in _MODULES:
        raise UsageError(f"--dataset={name}: expected one of {', '.join(NAMES)}")
    return _MODULES[name]
