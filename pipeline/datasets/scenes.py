"""The embedded data set of drawn scenes, in COCO 2017's layout."""

import posixpath

from cli.errors import UserError
from pipeline.datasets import coco
from pipeline.storage import files
from records.schema import SPLITS, IdSpace
from scenes import dataset


def is_drawn(data_dir: str) -> bool:
    """Return whether scenes were drawn into `data_dir`."""
    return files.exists(posixpath.join(data_dir, dataset.RECEIPT))


class Scenes(coco.Coco2017):
    """Drawn scenes: COCO 2017's layout with a test split and image ids of its own."""

    ids: IdSpace = "own"

    def looks_like(self, data_dir: str) -> str | None:
        """Return what lies in `data_dir` if scenes were drawn there."""
        return "drawn scenes" if is_drawn(data_dir) else None

    def splits(self, data_dir: str, need_train: bool) -> tuple[list[str], list[str]]:
        """Return train, val and test; `prepare` has drawn all of them."""
        return [s for s in SPLITS if files.exists(coco.annotations(data_dir, s))], []


def prepare(data_dir: str, n_images: int, seed: int) -> None:
    """Draw the scenes into `data_dir`, unless exactly these are there already.

    Args:
        data_dir: A local folder.
        n_images: Number of scenes.
        seed: Chooses the scenes.

    Raises:
        UserError: They cannot be written there.
    """
    if not files.is_local(data_dir):
        raise UserError(f"--data_dir={data_dir}: scenes are drawn into a local folder only")
    dataset.write(data_dir, n_images, seed)
