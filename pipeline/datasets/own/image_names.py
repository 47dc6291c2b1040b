r"""Where the image names of a user's list lie in a folder.

A list may come from another machine. Its names are found here though it was written on Windows
(`photos\1.jpg`) or macOS spells `é` as two characters. A name in another case is taken, as both
systems do, if one file only has it in any case. A name may lack its ending, if one image only has
it with an ending.
"""

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from cli import paths
from cli.errors import UserError
from pipeline.datasets.fields import shown
from pipeline.datasets.listing import clean, confined
from pipeline.datasets.own.findings import Findings
from pipeline.storage import files
from pixels.formats import SUFFIXES


def is_image(name: str) -> bool:
    """Return whether a file of this name is an image; Flickr's `a.jpg#0` counts, too."""
    return re.sub(r"#\d+$", "", name.lower()).endswith(SUFFIXES)


class ImageFolder:
    """A folder of images, which a list names by relative or absolute paths.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str):
        """Take a folder; nothing is read."""
        self.path = path
        self._names: dict[str, tuple[set[str], dict[str, str]]] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}
        self._any_case: dict[str, dict[str, list[str]]] = {}
        self._absolute = files.absolute(path).rstrip("/") + "/"
        self._located: dict[str, tuple[str, str] | None] = {}
        self._present: set[str] = set()
        self._missing: dict[str, str] = {}
        self._in_other_case: dict[str, str] = {}

    def locate(self, name: str, place: str) -> tuple[str, str] | None:
        """Find an image.

        Args:
            name: As the list names it.
            place: The place in the list, for `report`.

        Returns:
            (its name relative to the folder, its path), also when no file is there; None when the
            name leads out of the folder, so that a list from somebody else cannot make the build
            read other files.
        """
        if name not in self._located:  # Tables repeat a name for each caption.
            self._located[name] = self._locate(name, place)
        return self._located[name]

    def _locate(self, name: str, place: str) -> tuple[str, str] | None:
        relative, present = self._look_up(clean(name))
        if not relative:
            return None
        if present:
            self._present.add(present)
            if _differ_in_case(relative.replace("\\", "/"), present):
                self._in_other_case[relative] = present
        else:
            self._missing.setdefault(relative, place)
        located = present or relative
        return located, posixpath.join(self.path, located)

    def outside(self, name: str) -> str:
        """Return what is wrong with a name that `locate` does not take."""
        return f"must name a file in {self.path or '.'}, found {shown(name)}"

    def report(self, findings: Findings) -> None:
        """Remark on the names that have no file, or one in another case.

        Raises:
            UserError: No name has one: the images are somewhere else.
        """
        if self._in_other_case:
            name, present = next(iter(self._in_other_case.items()))
            findings.remark(
                f"names in another case than their files in {self.path or '.'} are taken:"
                f" {len(self._in_other_case):,}, the first is {name} for {present}"
            )
        if not self._missing:
            return
        name, place = next(iter(self._missing.items()))
        path = posixpath.join(self.path, name)
        listed = {posixpath.join(self.path, present) for present in self._present}
        example = f"{path} ({place}): no such file{paths.suggest(path, listed)}"
        total = len(self._missing) + len(self._present)
        if not self._present:
            zips = [n for n in sorted(self._names_in("")[0]) if n.lower().endswith(".zip")]
            hint = f"; {zips[0]} lies there: unpack it" if zips else ""
            raise UserError(f"none of the {total:,} images of the list is there: {example}{hint}")
        findings.remark(f"{len(self._missing):,} of {total:,} images are missing: {example}")

    def note_unlisted(self, findings: Findings) -> None:
        """Note which images lie beside those that the list names, and in the folder itself."""
        listed = {posixpath.join(self.path, name) for name in self._present}
        folders = {"", *map(posixpath.dirname, self._present)}
        beside = {
            posixpath.join(self.path, folder, name)
            for folder in folders
            for name in self._names_in(folder)[0]
            if is_image(name) and not name.startswith(".")
        }
        findings.images(listed, beside)

    def holds(self, names: Iterable[str]) -> int:
        """Return how many of `names` have a file."""
        return sum(self._look_up(clean(name))[1] is not None for name in names)

    def _look_up(self, name: str) -> tuple[str | None, str | None]:
        """Return (`name` relative to the folder, the name of its file); None: outside, missing."""
        relative = self._relative(name)
        present = relative and self._spelling(relative)
        if not present and "\\" in name:
            from_windows = self._relative(name.replace("\\", "/"))
            present = from_windows and self._spelling(from_windows)
            relative = relative if from_windows else None
        return relative, present or None

    def _relative(self, name: str) -> str | None:
        relative = name.removeprefix(self._absolute)
        return None if "://" in relative else confined("", relative)

    def _spelling(self, name: str) -> str | None:
        """Return the name of the file that `name` names; None when there is none.

        The two differ where Unicode has several spellings of a character.
        """
        folder, base = posixpath.split(name)
        if base in self._names_in(folder)[0]:
            return name
        spelled = ""
        for part in name.split("/"):
            actual = self._names_in(spelled)[1].get(_normalised(part))
            if actual is None:
                return self._with_ending(name) or self._in_any_case(name)
            spelled = posixpath.join(spelled, actual)
        return spelled

    def _with_ending(self, name: str) -> str | None:
        """Return the only image whose name without its ending is `name`, if there is one."""
        folder, stem = posixpath.split(name)
        if folder not in self._stems:
            stems = self._stems[folder] = defaultdict(list)
            for other in filter(is_image, self._names_in(folder)[0]):
                stems[posixpath.splitext(other)[0]].append(other)
        images = self._stems[folder].get(stem, ())
        return posixpath.join(folder, images[0]) if len(images) == 1 else None

    def _in_any_case(self, name: str) -> str | None:
        """Return the only file that has this name in any case, if there is one."""
        spelled = ""
        for part in name.split("/"):
            if spelled not in self._any_case:
                names = self._any_case[spelled] = defaultdict(list)
                for other in self._names_in(spelled)[0]:
                    names[_normalised(other).casefold()].append(other)
            alike = self._any_case[spelled].get(_normalised(part).casefold(), ())
            if len(alike) != 1:
                return None
            spelled = posixpath.join(spelled, alike[0])
        return spelled

    def _names_in(self, folder: str) -> tuple[set[str], dict[str, str]]:
        """Return the names in a folder, and normalised name -> name."""
        if folder not in self._names:
            names = files.names(posixpath.join(self.path, folder) or ".")
            self._names[folder] = set(names), {_normalised(name): name for name in names}
        return self._names[folder]


def _normalised(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _differ_in_case(name: str, other: str) -> bool:
    name, other = _normalised(name), _normalised(other)
    return name != other and name.casefold() == other.casefold()
