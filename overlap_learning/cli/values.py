"""Values: what a key of a configuration may hold, and errors that name the key."""

import dataclasses
import difflib
import inspect
import math
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: The most characters of a value in a message, and bytes of a name: "-validation.png" is put behind it.
LONGEST, LONGEST_NAME = 200, 240
REQUIRED = inspect.Parameter.empty


class ConfigError(Exception):
    """A configuration that can't be used; the message names table and key."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a value may be.

    Args:
        allowed: in words, after "must be".
        fits: whether a value of a TOML file is of this kind.
        convert: from a value that fits to what the package takes.
    """

    allowed: str
    fits: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of a table.

    Args:
        kind: what its value may be.
        default: the value if it is not given; REQUIRED: it must be.
    """

    kind: Kind
    default: Any = REQUIRED


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    # A longer integer has no float.
    is_whole = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 1024
    return is_whole or isinstance(value, float)


def _are(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(fits(item) for item in value)


def _is_table_of_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(item) for item in value.values())


def _is_block(value: Any) -> bool:
    return _is_number(value) or _are(_are(_is_number))(value)


INTEGER = Kind("an integer", _is_integer)
NUMBER = Kind("a number", _is_number, float)
BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
INTEGERS = Kind("a list of integers, such as [250, 500]", _are(_is_integer), tuple)
NUMBERS = Kind("a list of numbers, such as [1.0, 2.0]", _are(_is_number), lambda value: tuple(map(float, value)))
PAIR = Kind(
    "two numbers, such as [4.0, 10.0]", lambda value: _are(_is_number)(value) and len(value) == 2, NUMBERS.convert
)
SEED = Kind("an integer of at least 0", lambda value: _is_integer(value) and 0 <= value < 2**63)
RATES = Kind(
    "a table of numbers, such as { m = 0.0 }, or a list of them",
    lambda value: _is_table_of_numbers(value) or _are(_is_number)(value),
)
OVERLAPS = Kind(
    "a table of numbers (or of lists of rows), such as { zm = 0.1 }",
    lambda value: isinstance(value, dict) and all(_is_block(item) for item in value.values()),
)
NAMED_NUMBERS = Kind(
    "a table of numbers, such as { zm = 0.5 }", _is_table_of_numbers, lambda value: tuple(value.items())
)
FOLDER = Kind(
    "the path of a folder, without the character NUL", lambda value: isinstance(value, str) and "\0" not in value
)
FILE = Kind("the path of a file, without the character NUL", FOLDER.fits)
FILE_NAME = Kind(
    f"the name of a file, without a folder, of at most {LONGEST_NAME} bytes",
    lambda value: (
        isinstance(value, str)
        and value not in ("", ".", "..")
        and not re.search(r"[/\\\0]", value)
        and len(os.fsencode(value)) <= LONGEST_NAME
    ),
)


def shown(value: Any) -> str:
    """A value of a file in a message, in at most a line or so."""
    if isinstance(value, int) and value.bit_length() > 64:
        # By its bits: Python writes no number of thousands of digits.
        return f"an integer of {math.floor(value.bit_length() * math.log10(2)) + 1} digits"
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return "a value that is nested too deep, or holds too long a number"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def choice(options: Mapping[str, Any]) -> Kind:
    """One of some names, each of which stands for an object."""
    return Kind(
        f"one of {', '.join(map(repr, options))}",
        lambda value: isinstance(value, str) and value in options,
        options.__getitem__,
    )


def read_table(table: Any, keys: Mapping[str, Key], name: str) -> dict[str, Any]:
    """The values of a table, checked and converted; keys that are not given and have no default of their own stay out.

    Args:
        table: what the file has.
        keys: the keys that it may have.
        name: the table's name.

    Raises:
        ConfigError: for an unknown key, a missing one, or a value of another kind.
    """
    require_table(table, name)
    for key in table:
        if key not in keys:
            raise ConfigError(f"[{name}] {key}: there is no such key. {suggest(key, keys)}")
    values = {}
    for key, expected in keys.items():
        if key in table:
            values[key] = convert(table[key], expected.kind, name, key)
        elif expected.default is REQUIRED:
            raise ConfigError(f"[{name}] {key}: is missing; it must be {expected.kind.allowed}.")
        elif expected.default is not None:
            values[key] = expected.default
    return values


def require_table(table: Any, name: str) -> None:
    """Refuse what a file has in place of a table.

    Raises:
        ConfigError: if it is no table.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"[{name}] must be a table of keys and values, got {shown(table)}.")


def convert(value: Any, kind: Kind, table: str, key: str) -> Any:
    """A value of a table as the package takes it.

    Raises:
        ConfigError: if it is of another kind.
    """
    if not kind.fits(value):
        close = (
            difflib.get_close_matches(value, re.findall(r"'(\w+)'", kind.allowed), 1) if isinstance(value, str) else []
        )
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"[{table}] {key}: must be {kind.allowed}, got {shown(value)}.{hint}")
    return kind.convert(value)


def suggest(unknown: str, known: Iterable[str], *, noun: str = "keys") -> str:
    """What the writer of an unknown name may have meant, and the names there are."""
    known = list(known)
    close = difflib.get_close_matches(unknown, known, 1)
    return (f"Did you mean {close[0]!r}? " if close else "") + f"The {noun} are: {', '.join(known)}."


def keys_of(function: Callable[..., Any], special: Mapping[str, Kind]) -> dict[str, Key]:
    """The keys that stand for the arguments of a function or class, from its signature.

    Args:
        function: what the table's values are passed to.
        special: the kinds of arguments that their annotations do not tell. What no file can hold is left out.
    """
    keys = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        kind = special.get(name) or _kind_of(parameter.annotation)
        if kind is not None:
            keys[name] = Key(kind, REQUIRED if parameter.default is inspect.Parameter.empty else None)
    return keys


def _kind_of(annotation: Any) -> Kind | None:
    """The kind of value that an annotation asks for; None if no file can hold it."""
    is_union = isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union
    members = typing.get_args(annotation) if is_union else (annotation,)
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)
        if inner == (float, ...):
            return NUMBERS
        return PAIR if inner == (float, float) else None
    # In this order: an array-like argument also takes integers and booleans.
    for member, kind in ((float, NUMBER), (int, INTEGER), (bool, BOOLEAN)):
        if member in members:
            return kind
    return None


def call(function: Callable[..., Any], values: Mapping[str, Any], table: str) -> Any:
    """`function(**values)`.

    Raises:
        ConfigError: if it finds a value impossible.
    """
    try:
        return function(**values)
    except ValueError as error:
        raise ConfigError(in_table(table, str(error))) from error


def in_table(table: str, message: str) -> str:
    """A message of the package, said of a table: "GradientDescent: n_steps must ..." as "[rule] n_steps: must ..."."""
    message = re.sub(r"^[\w.]+: ", "", message)
    named = re.fullmatch(r"(\w+) (must .*)", message, re.DOTALL)
    return f"[{table}] {named[1]}: {named[2]}" if named else f"[{table}]: {message}"
