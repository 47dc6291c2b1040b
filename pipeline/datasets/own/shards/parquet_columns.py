"""Which columns of a Parquet file hold the images, the captions and the splits."""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pyarrow import types

from cli.errors import UserError
from pipeline.datasets.options import SourceOptions

# Names of columns with captions. Those of the first set that has any count.
_CAPTIONS = (
    {"caption", "captions"},
    {"sentence", "sentences"},
    {"text", "texts"},
    {"answer", "answers"},
)
_NUMBERED_CAPTION = re.compile(r"(caption|text|sentence)s?[_ ]?\d+")
# The field with the text, where captions are objects.
_TEXT_FIELDS = ("raw", "caption", "text", "sentence", "value", "content")
_IMAGE = {"image", "img", "jpg", "picture"}
_PATH = {"image", "image_path", "file_name", "filename", "image_file", "path"}
_SPLIT = "split"


class TextColumn(NamedTuple):
    """A column with texts.

    Attributes:
        name: Its name.
        fields: The fields that lead to the texts, where its values are objects.
    """

    name: str
    fields: tuple[str, ...] = ()

    def texts(self, row: dict[str, Any]) -> Iterator[str]:
        """Yield the texts of a row; nulls are none."""
        return _texts(row[self.name], self.fields)


class Columns(NamedTuple):
    """The columns that a build reads.

    Attributes:
        image: The column of the images.
        kind: Whether it has objects with `bytes` and `path`, bytes alone, or paths alone.
        captions: The columns of the captions.
        split: The column of the splits; None when there is none.
    """

    image: str
    kind: Literal["object", "bytes", "path"]
    captions: tuple[TextColumn, ...]
    split: TextColumn | None

    def __str__(self) -> str:
        """Return a phrase that names the columns of images and captions."""
        names = ", ".join(".".join((column.name, *column.fields)) for column in self.captions)
        return f"images from the column {self.image}, captions from {names}"


def columns(schema: pa.Schema, options: SourceOptions, path: str) -> Columns:
    """Find the columns, unless options name them.

    Args:
        schema: The columns of a file.
        options: Names, or numbers from 1.
        path: The file, for messages.

    Raises:
        UserError: A column is missing, or has another type than it must have, or it is not clear
            which one is meant. The message lists the columns with their types.
    """
    image = _image(schema, options.image_column, path)
    split = None
    if options.split_column:
        split = _text_column(schema, options.split_column, "--split_column", path)
    elif _SPLIT in schema.names and _fields_to_text(schema.field(_SPLIT).type) == ():
        split = TextColumn(_SPLIT)
    kind = _image_kind(schema.field(image).type)
    assert kind
    return Columns(image, kind, _captions(schema, options.caption_column, image, path), split)


def _image(schema: pa.Schema, asked: str | None, path: str) -> str:
    if asked:
        name = _name(schema, asked, "--image_column", path)
        if not _image_kind(schema.field(name).type):
            raise _error(schema, path, f"--image_column={asked} holds neither images nor paths")
        return name
    for kind, usual in (("object", _IMAGE), ("bytes", _IMAGE), ("path", _PATH)):
        names = [field.name for field in schema if _image_kind(field.type) == kind]
        named = [name for name in names if name.lower() in usual]
        if kind == "path":
            names = named
        if len(names) == 1 or len(named) == 1:
            return (named or names)[0]
        if names:
            raise _error(schema, path, "which column holds the images? Say --image_column=NAME")
    raise _error(
        schema, path, "no column holds images; --image_column=NAME names it where it has paths"
    )


def _captions(
    schema: pa.Schema, asked: str | None, image: str, path: str
) -> tuple[TextColumn, ...]:
    if asked:
        names = [name.strip() for name in asked.split(",")]
        return tuple(_text_column(schema, name, "--caption_column", path) for name in names)
    fields = {field.name: _fields_to_text(field.type) for field in schema if field.name != image}
    texts = {name: path for name, path in fields.items() if path is not None}
    for usual in _CAPTIONS:
        names = [name for name in texts if name.lower() in usual]
        if len(names) == 1:
            return (TextColumn(names[0], texts[names[0]]),)
        if names:
            break
    else:
        numbered = [name for name in texts if _NUMBERED_CAPTION.fullmatch(name.lower())]
        if numbered:
            return tuple(TextColumn(name, texts[name]) for name in numbered)
    raise _error(schema, path, "which column holds the captions? Say --caption_column=NAME")


def _text_column(schema: pa.Schema, asked: str, flag: str, path: str) -> TextColumn:
    """Return the column that a flag names, perhaps with fields: `sentences.raw`."""
    name, *fields = [asked] if asked in schema.names else asked.split(".")
    name = _name(schema, name, flag, path)
    to_text = _fields_to_text(schema.field(name).type, tuple(fields))
    if to_text is None:
        raise _error(schema, path, f"{flag}={asked} holds no text")
    return TextColumn(name, to_text)


def _name(schema: pa.Schema, asked: str, flag: str, path: str) -> str:
    if schema.names.count(asked) == 1:
        return asked
    if asked.isascii() and asked.isdigit() and 1 <= int(asked) <= len(schema.names):
        name: str = schema.names[int(asked) - 1]
        return name
    raise _error(schema, path, f"no column {asked}, which {flag} names")


def _error(schema: pa.Schema, path: str, problem: str) -> UserError:
    listed = ", ".join(f"{field.name}: {field.type}" for field in schema)
    listed = " ".join(listed.split())
    return UserError(f"{path}: {problem}; the columns are {listed[:600]}")


def _image_kind(kind: pa.DataType) -> Literal["object", "bytes", "path"] | None:
    if types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        return "object" if "bytes" in fields and _is_binary(fields["bytes"]) else None
    if _is_binary(kind):
        return "bytes"
    return "path" if _is_text(kind) else None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _fields_to_text(kind: pa.DataType, fields: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """Return the fields that lead to the texts in values of a type; None when none do.

    Args:
        kind: The type: of texts, or of lists or objects with texts in them.
        fields: Fields to go through first.
    """
    if _is_text(kind):
        return None if fields else ()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _fields_to_text(kind.value_type, fields)
    if not types.is_struct(kind):
        return None
    inner = {field.name: field.type for field in kind}
    for name in fields[:1] or _TEXT_FIELDS:
        if name in inner:
            rest = _fields_to_text(inner[name], fields[1:])
            return None if rest is None else (name, *rest)
    return None


def _texts(value: Any, fields: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _texts(item, fields)
    elif isinstance(value, dict):
        yield from _texts(value.get(fields[0]), fields[1:])
    elif value is not None:
        yield value
