"""The sources: each module reads annotation files, never an image.

A source has two functions:

    splits(data_dir, need_train) -> (names of the splits that are there, remarks for the user)
    read(data_dir, split) -> Listing

`splits` runs before the job and raises UserError naming what is missing and where it comes from;
`read` runs on a worker. `need_train` is False when a vocabulary is given.
"""

from types import ModuleType

from pipeline.datasets import coco, flickr8k, scenes

NAMES = ("coco2017", "flickr8k", "scenes")


def source(name: str) -> ModuleType:
    """The module that reads the data set `name`, one of `NAMES`."""
    return {"coco2017": coco, "flickr8k": flickr8k, "scenes": scenes}[name]
