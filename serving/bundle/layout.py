"""A bundle on disk: the names of its files, and how it is read and checked.

A bundle is read strictly. Every file must be the one that was exported, so that a bundle gives the
captions of its golden images or none at all.
"""

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from typing import Any, NoReturn, Self

from cli import paths
from cli.errors import UserError
from serving.bundle import golden
from serving.bundle.golden import Golden
from serving.bundle.words import Words

FORMAT = 1  # Raise it where earlier programs would misread a bundle.
SAVED_MODEL = "1"  # TensorFlow Serving takes the folders with numbers for versions.
LITE_MODEL = "model.tflite"
# Signatures: model.tflite has the first alone. It takes pixels there, and the SavedModel files.
DEFAULT_SIGNATURE, PIXELS_SIGNATURE = "serving_default", "pixels"
# Images that the SavedModel computes together; other numbers are filled up.
BATCH_SIZES = (1, 2, 4, 8, 16)
VOCABULARY = "vocabulary.tsv"
JOINS = "joins.tsv"
CARD, CARD_TEXT = "card.json", "card.md"
BATCHING = "batching.config"
GOLDEN = "golden"
GOLDEN_CAPTIONS = f"{GOLDEN}/golden.json"
_REQUIRED = (
    *(f"{SAVED_MODEL}/saved_model.pb", LITE_MODEL, VOCABULARY, JOINS, CARD_TEXT, BATCHING),
    GOLDEN_CAPTIONS,
)
_TOP = {SAVED_MODEL, LITE_MODEL, VOCABULARY, JOINS, CARD, CARD_TEXT, BATCHING, GOLDEN}
_CHECKSUM = "checksum"  # Of everything else in card.json.
_CARD_BYTES = 16 << 20
_EXPORT = "`python -m serving.export --run_dir=RUN --output_dir=BUNDLE`"
_REMEDY = "copy the bundle again, or export it again"
# Key of card.json -> its type, for the keys that captions depend on.
_TYPES: dict[str, type] = {
    "name": str,
    "fingerprint": str,
    "files": dict,
    "input_size": int,
    "grid": list,
    "attends": bool,
    "search": dict,
    "quantize": str,
    "lite": dict,
}


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle whose files are the ones that were exported.

    Attributes:
        path: The folder, as the user gave it.
        card: The content of card.json.
        words: What the model's ids mean.
    """

    path: str
    card: Mapping[str, Any]
    words: Words

    @classmethod
    def read(cls, folder: str) -> Self:
        """Read a bundle and check each of its files.

        Args:
            folder: The folder.

        Raises:
            UserError: There is no bundle, a later version of the program wrote it, or a file is
                missing, damaged or edited.
        """
        card = _read_card(folder)
        _check_files(folder, card)
        vocabulary, joins = (_text(os.path.join(folder, name)) for name in (VOCABULARY, JOINS))
        try:
            words = Words.parse(vocabulary, joins)
        except ValueError as error:
            _refuse(os.path.join(folder, VOCABULARY), str(error))
        return cls(folder, card, words)

    def inside(self, name: str) -> str:
        """Return the path of a file or folder of the bundle."""
        return os.path.join(self.path, name)

    @property
    def name(self) -> str:
        """The name of the run."""
        return str(self.card["name"])

    @property
    def fingerprint(self) -> str:
        """The sha256 over the hashes of all files."""
        return str(self.card["fingerprint"])

    @property
    def input_size(self) -> int:
        """S, the side of the square that the model takes, in pixels."""
        return int(self.card["input_size"])

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the attention."""
        height, width = self.card["grid"]
        return height, width

    @property
    def attends(self) -> bool:
        """Whether captions come with their attention."""
        return bool(self.card["attends"])

    @property
    def n_best(self) -> int:
        """N, the most captions of an image."""
        return int(self.card["search"]["n_best"])

    @property
    def quantized(self) -> bool:
        """Whether the LiteRT model is quantised, so that its captions are its own."""
        return self.card["quantize"] != "none"

    def golden_bytes(self, image: Golden) -> bytes:
        """Read the file of a golden image.

        Args:
            image: One of `golden`.

        Raises:
            UserError: It cannot be read.
        """
        path = self.inside(f"{GOLDEN}/{image.file}")
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise _unreadable(path, error) from None

    def golden(self) -> list[Golden]:
        """Read what the golden images must get; they lie in the folder `GOLDEN`."""
        path = self.inside(GOLDEN_CAPTIONS)
        try:
            images = golden.parse(_text(path))
        except ValueError as error:
            _refuse(path, str(error))
        for image in images:
            if f"{GOLDEN}/{image.file}" not in self.card["files"]:
                _refuse(path, f"names an image that the bundle does not hold: {image.file!r:.80}")
        return images


def checksum(card: Mapping[str, Any]) -> str:
    """Return the checksum of a card: the sha256 of everything in it but the checksum."""
    content = {key: value for key, value in card.items() if key != _CHECKSUM}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the fingerprint of a bundle.

    Args:
        files: Path in the bundle -> its `bytes` and `sha256`.
    """
    lines = "".join(f"{files[path]['sha256']}  {path}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def others(folder: str) -> list[str]:
    """Return the names of what lies in a folder and is no part of a bundle, sorted.

    Args:
        folder: The folder. Where it is no bundle, whole or damaged, all names are returned.
    """
    names = sorted(os.listdir(folder))
    return [name for name in names if name not in _TOP or CARD not in names]


def _read_card(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, CARD)
    if not os.path.lexists(path):
        has_config = os.path.exists(os.path.join(folder, "config.json"))
        is_run = "; this is the folder of a run" if has_config else ""
        raise UserError(
            f"{folder}: no bundle here ({path} is missing){is_run}; write one with"
            f" {_EXPORT}{paths.suggest(folder)}"
        )
    try:
        card = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        _refuse(path, f"not JSON ({' '.join(str(error).split())[:80]})")
    if not isinstance(card, dict) or not isinstance(card.get("format"), int):
        _refuse(path, "not the card of a bundle")
    if card["format"] != FORMAT:
        raise UserError(
            f"{path}: a bundle of format {card['format']}, and this program reads format {FORMAT};"
            f" install the version of the program that wrote it, or export the run again"
        )
    if card.pop(_CHECKSUM, None) != checksum(card):
        _refuse(path, "not the card that was exported: it was edited or is damaged")
    for key, kind in _TYPES.items():
        if not isinstance(card.get(key), kind):
            _refuse(path, f"expected a {kind.__name__} under {key!r}, found {card.get(key)!r:.60}")
    _check_numbers(path, card)
    return card


def _check_numbers(path: str, card: Mapping[str, Any]) -> None:
    search = card["search"]
    numbers = [card["input_size"], *card["grid"], search.get("n_best"), search.get("max_words")]
    whole = all(type(number) is int and number > 0 for number in numbers)
    if not whole or len(card["grid"]) != 2:
        _refuse(path, "the sizes of the model are not whole numbers above 0")


def _check_files(folder: str, card: Mapping[str, Any]) -> None:
    """Refuse a bundle whose files are not those of its card."""
    files, path = card["files"], os.path.join(folder, CARD)
    for name in _REQUIRED:
        if name not in files:
            _refuse(path, f"{name} is not among its files")
    for name, entry in files.items():
        parts = name.split("/")
        if os.path.isabs(name) or not {"", ".", ".."}.isdisjoint(parts) or "\0" in name:
            _refuse(path, f"names a file outside of the bundle: {name!r:.80}")
        if not isinstance(entry, dict) or entry.keys() != {"bytes", "sha256"}:
            _refuse(path, f"expected the bytes and the sha256 of {name}")
    if fingerprint(files) != card["fingerprint"]:
        _refuse(path, "its fingerprint is not that of its files")
    for name, entry in files.items():
        _check_file(os.path.join(folder, name), entry)


def _check_file(path: str, entry: Mapping[str, Any]) -> None:
    try:
        _refuse_unless_regular(path)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry["bytes"]:
                _refuse(path, f"{size:,} bytes, and {entry['bytes']:,} were exported")
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                _refuse(path, "not the file that was exported: it was edited or is damaged")
    except FileNotFoundError:
        _refuse(path, "missing")
    except OSError as error:
        raise _unreadable(path, error) from None


def _refuse_unless_regular(path: str) -> None:
    """Refuse what is no file: opening a pipe would wait for its writer."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        _refuse(path, "expected a file, found a folder, a pipe or a device")


def _text(path: str) -> str:
    try:
        _refuse_unless_regular(path)
        with open(path, encoding="utf-8", newline="\n") as file:
            text = file.read(_CARD_BYTES + 1)
    except UnicodeDecodeError:
        _refuse(path, "not text in UTF-8")
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(text) > _CARD_BYTES:
        _refuse(path, f"more than {_CARD_BYTES:,} characters")
    return text


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read: {error.strerror or error}")


def _refuse(path: str, problem: str) -> NoReturn:
    raise UserError(f"{path}: {problem}; {_REMEDY}")
