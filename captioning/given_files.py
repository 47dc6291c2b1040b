"""Image files in the order in which somebody named them."""

from collections.abc import Iterator, Sequence

from captioning.source import Part, SourceImage


class GivenFiles:
    """A few image files; a source of images (`source.ImageSource`).

    Args:
        paths: The files; one may come twice.
        part_images: The number of images in a part.
    """

    may_reject = True

    def __init__(self, paths: Sequence[str], part_images: int):
        starts = range(0, len(paths), part_images)
        together = [tuple(paths[start : start + part_images]) for start in starts]
        self.parts = [Part(n, len(files), "", files) for n, files in enumerate(together)]
        self.images = len(paths)

    def read(self, part: Part) -> Iterator[SourceImage]:
        """Yield the images of a part."""
        for path in part.place:
            yield SourceImage(path, None)

    def holds_features(self, *_: object) -> bool:
        """Tell that files come without features."""
        return False
