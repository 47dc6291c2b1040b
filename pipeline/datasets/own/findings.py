"""What a source finds while it reads a user's list: lines that are wrong, and remarks."""

from cli.errors import UserError
from pipeline.datasets.listing import Caption, clean

_MAX_PROBLEMS_SHOWN = 5


class Findings:
    """Collects the problems of a list, so that the user sees several of them at once.

    Attributes:
        remarks: Lines for the user about a list that can be read.
        strays: Split -> (image id, caption) of captions whose image is not listed.
    """

    def __init__(self) -> None:
        """Begin without problems."""
        self.remarks: list[str] = []
        self.strays: dict[str, list[tuple[int, Caption]]] = {}
        self._listed: set[str] = set()
        self._beside: set[str] = set()
        self._first_problems: list[str] = []
        self._n_problems = 0

    def remark(self, text: str) -> None:
        """Add a remark, unless it was made before."""
        if text not in self.remarks:
            self.remarks.append(text)

    def problem(self, place: str, message: str) -> None:
        """Add a problem, which `check` raises.

        Args:
            place: Where it is, as `captions.csv:7:12`: file, line and column.
            message: What is wrong there.
        """
        self._n_problems += 1
        if len(self._first_problems) < _MAX_PROBLEMS_SHOWN:
            self._first_problems.append(f"{place}: {message}")

    def stray(self, split: str, image_id: int, caption: Caption) -> None:
        """Add a caption whose image is not listed."""
        self.strays.setdefault(split, []).append((image_id, caption))

    def images(self, listed: set[str], beside: set[str]) -> None:
        """Add the paths of images that a list names, and of those that lie beside them.

        Several lists may share a folder; `remark_on_unlisted` comes after all of them.
        """
        self._listed |= listed
        self._beside |= beside

    def remark_on_unlisted(self) -> None:
        """Remark on images that no list names."""
        if unlisted := self._beside - self._listed:
            self.remark(
                f"images without captions, which no list names, are left out: {len(unlisted):,},"
                f" the first is {clean(min(unlisted))}"
            )

    def check(self) -> None:
        """Raise the problems, if there are any.

        Raises:
            UserError: The first few problems, a line for each.
        """
        if self._n_problems:
            more = self._n_problems > _MAX_PROBLEMS_SHOWN
            note = f"({_MAX_PROBLEMS_SHOWN} of {self._n_problems:,} wrong lines are shown)"
            raise UserError("\n".join([*self._first_problems, *[note] * more]))
