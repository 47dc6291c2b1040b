"""JSON annotation files and their fields. Every error names the place in the file."""

import json
from collections.abc import Callable
from typing import Any, TypeGuard

from cli.errors import UserError
from pipeline.datasets.listing import text_of

_INT64 = range(-(2**63), 2**63)


def parse(
    path: str,
    keys: tuple[str, ...],
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Args:
        path: The file.
        keys: Fields that must be lists.
        object_hook: Replaces each object in the file, as in `json.loads`.

    Raises:
        UserError: The file is missing, cut, no JSON, or holds something else.
    """
    text = text_of(path)
    try:
        content = json.loads(text, object_hook=object_hook)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}:{error.lineno}:{error.colno}: damaged JSON, perhaps a file cut short:"
            f" {error.msg} (character {error.pos:,} of {len(text):,})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged JSON: {error}") from None
    if not isinstance(content, dict):
        expected = " and ".join(f'"{key}"' for key in keys)
        raise UserError(f"{path}: expected an object with {expected}")
    for key in keys:
        if not isinstance(content.get(key), list):
            raise UserError(f'{path}: no list "{key}": not a captions file of this data set')
    return content


def int_of(entry: Any, key: str, where: str) -> int:
    """Return the int64 in a field; `value_of` says more."""
    value = value_of(entry, key, where)
    if not is_int64(value):
        raise UserError(f'{where}: "{key}" must be an integer, found {shown(value)}')
    return value


def str_of(entry: Any, key: str, where: str) -> str:
    """Return the string in a field; `value_of` says more."""
    value = value_of(entry, key, where)
    if not isinstance(value, str):
        raise UserError(f'{where}: "{key}" must be a string, found {shown(value)}')
    return value


def list_of(entry: Any, key: str, where: str) -> list[Any]:
    """Return the list in a field; `value_of` says more."""
    value = value_of(entry, key, where)
    if not isinstance(value, list):
        raise UserError(f'{where}: "{key}" must be a list, found {shown(value)}')
    return value


def value_of(entry: Any, key: str, where: str) -> Any:
    """Return the value of a field, whatever its type.

    Args:
        entry: What should be an object with the field.
        key: The field.
        where: The place of `entry` in its file, for the error message.

    Raises:
        UserError: `entry` is no object, or the field is missing (for `int_of`, `str_of` and
            `list_of`: or has another type).
    """
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected an object, found {shown(entry)}")
    if key not in entry:
        raise UserError(f'{where}: "{key}" is missing')
    return entry[key]


def is_int64(value: Any) -> TypeGuard[int]:
    """Return whether a value is an integer that a record can hold; booleans are not."""
    return type(value) is int and value in _INT64


def shown(value: Any) -> str:
    """Return the first 60 characters of a value as JSON, for a message."""
    return json.dumps(value, ensure_ascii=False)[:60]
