"""Flags as the fields of a frozen dataclass: name, type, default, help and range stand once.

    @dataclasses.dataclass(frozen=True)
    class Options:
        epochs: int = flag(20, "Passes over the training split, 1 or more.", at_least=1)

A command declares them with `define` before the command line is parsed and freezes them with `read`
in its `main`. Nothing below `main` knows of flags; tests make the dataclass directly.
"""

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Collection
from typing import Any, TypeVar, cast

from absl import flags

from cli import paths

_Options = TypeVar("_Options")
_HELP = "help"


def flag(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    choices: typing.Sequence[str] | None = None,
    literal: bool = False,
) -> Any:
    """Return a dataclass field that is a flag of the same name.

    Args:
        default: The value without the flag.
        help: What the flag does: a full phrase with unit and range.
        at_least: The smallest value that a number may have.
        at_most: The largest one.
        choices: The strings to choose from.
        literal: Whether a string is no path, so that ~ at its start means just that.

    Returns:
        A field for a dataclass; its type annotation is the flag's type.
    """
    metadata = {
        _HELP: help,
        "at_least": at_least,
        "at_most": at_most,
        "choices": choices,
        "literal": literal,
    }
    return dataclasses.field(default=default, metadata=metadata)


def define(options: type, values: flags.FlagValues, without: Collection[str] = ()) -> None:
    """Declare the flags of a dataclass.

    Args:
        options: A dataclass; fields that `flag` did not make are no flags.
        values: Where to declare them.
        without: Names of flags that are declared already.
    """
    hints = typing.get_type_hints(options)
    # absl looks up the flags of the main module by the name of the program.
    module = sys.argv[0] if options.__module__ == "__main__" else options.__module__
    for field in _flag_fields(options):
        if field.name in without:
            continue
        declared = _absl_flag(field, _base_type(hints[field.name]))
        # --help groups the flags by the module that declares them: that of the dataclass.
        flags.DEFINE_flag(declared, values, module)


def read(options: type[_Options], values: flags.FlagValues) -> _Options:
    """Freeze parsed flags.

    Args:
        options: The dataclass whose flags `define` declared.
        values: The parsed flags.

    Returns:
        The dataclass with the flags' values.
    """
    given = {field.name: values[field.name].value for field in _flag_fields(options)}
    return options(**{name: value for name, value in given.items() if value is not None})


def given(options: type, values: flags.FlagValues) -> dict[str, Any]:
    """Return the flags of a dataclass that the command line or its flagfiles name.

    Args:
        options: The dataclass whose flags `define` declared.
        values: The parsed flags.

    Returns:
        Flag name -> value.
    """
    names = (field.name for field in _flag_fields(options))
    return {name: values[name].value for name in names if values[name].present}


class _TextParser(flags.ArgumentParser[str]):
    """Takes a string; where it is a path, ~ is the home directory. No shell expands --flag=~/x."""

    def parse(self, argument: str) -> str:
        return paths.expand_user(argument)


class _IntegerParser(flags.IntegerParser):
    """Takes an integer within bounds."""

    def convert(self, argument: int | str) -> int:
        try:
            value: int = super().convert(argument)
        except (TypeError, ValueError):
            raise ValueError(f"{argument} is not {self.syntactic_help}") from None
        return value


class _NumberParser(flags.FloatParser):
    """Takes a number within bounds. `nan` is in no order with bounds, and passes their check."""

    def convert(self, argument: str | float) -> float:
        try:
            value: float = super().convert(argument)
        except (TypeError, ValueError):
            value = math.nan
        if math.isnan(value):
            raise ValueError(f"{argument} is not {self.syntactic_help}")
        return value


def _flag_fields(options: type) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(options) if _HELP in field.metadata]


def _absl_flag(field: dataclasses.Field[Any], kind: type) -> flags.Flag[Any]:
    # Without a default in absl, --help does not print "(default: '')".
    default = None if field.default == "" else field.default
    named = (field.name, default, field.metadata[_HELP])
    if field.metadata["choices"]:
        return flags.EnumFlag(*named, list(field.metadata["choices"]))
    if kind is bool:
        return flags.BooleanFlag(*named)
    bounds = (field.metadata["at_least"], field.metadata["at_most"])
    parsers: dict[type, flags.ArgumentParser[Any]] = {
        int: _IntegerParser(*bounds),
        float: _NumberParser(*bounds),
        str: _TextParser() if not field.metadata["literal"] else flags.ArgumentParser(),
    }
    return flags.Flag(parsers[kind], flags.ArgumentSerializer(), *named)


def _base_type(hint: Any) -> type:
    """Return the type of a field; `int` for `int | None`."""
    if isinstance(hint, types.UnionType):
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not type(None))
    return cast(type, hint)
