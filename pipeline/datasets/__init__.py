"""The sources. Each has:

    IDS  the space of its image ids: "coco", "flickr", or "own" for ids that mean something in this
         source only; in a space that is shared, the same id is the same picture
    splits(data_dir, need_train) -> (names of the splits that are there, remarks for the user)
    read(data_dir, split) -> Listing
    image_size(path) -> bytes of an image, told without reading it; None where it is missing
    read_image(path) -> its content; None where it is missing

`splits` runs before the job and raises UserError naming what is missing and where it comes from;
the others run on workers. `need_train` is False when a vocabulary is given; `path` is that of the
listing.
"""

from types import ModuleType

from pipeline.datasets import coco, flickr8k, scenes

NAMES = ("coco2017", "flickr8k", "scenes")


def source(name: str) -> ModuleType:
    """The module that reads the data set `name`, one of `NAMES`."""
    return {"coco2017": coco, "flickr8k": flickr8k, "scenes": scenes}[name]
