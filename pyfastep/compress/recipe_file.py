"""Recipes as TOML files: reading with exact errors, ready ones, changes by ``key=value``, and back to plain values."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from pyfastep.compress.recipe import Recipe
from pyfastep.compress.toml_file import read_toml, toml_value
from pyfastep.errors import FastEPError

__all__ = [
    "file_or_ready",
    "from_tables",
    "load_recipe",
    "ready_recipes",
    "recipe_from_tables",
    "recipe_tables",
]

_T = TypeVar("_T")
_UNIONS = (typing.Union, types.UnionType)


def ready_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = Path(str(resources.files("pyfastep.compress") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(recipe: str | os.PathLike[str], changes: Iterable[str | tuple[str, Any]] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        recipe: A TOML file, or the name of a ready recipe.
        changes: ``table.key=value`` entries that replace what the file says; values as in TOML, and what is not TOML
            is taken as text. Or pairs of ``table.key`` and its value.

    Raises:
        FastEPError: Not there, not TOML, a key unknown or missing, a value of the wrong type or out of range: names
            the file, the key, what was expected and what was found.
    """
    path = file_or_ready(recipe, "recipe", ready_recipes())
    tables = read_toml(path)
    for change in changes:
        _apply(tables, change)
    loaded = recipe_from_tables(tables, where=str(path))
    return _with_absolute_paths(loaded, path.parent)


def file_or_ready(name: str | os.PathLike[str], what: str, ready: Mapping[str, Path]) -> Path:
    """The file ``name``, or the ready one of that name.

    Raises:
        FastEPError: There is neither.
    """
    if Path(name).is_file():
        return Path(name)
    if str(name) not in ready:
        raise FastEPError(f"no such {what} file", node=str(name), remedy=f"ready ones are {', '.join(ready)}")
    return ready[str(name)]


def recipe_from_tables(tables: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from nested mappings, as a TOML reader gives them."""
    return from_tables(Recipe, tables, where)


def recipe_tables(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested mappings of plain values, defaults included: what :func:`recipe_from_tables` takes."""
    plain = dataclasses.asdict(recipe)
    return {key: _listed(value) for key, value in plain.items()}


def from_tables(kind: type[_T], tables: Mapping[str, Any], where: str) -> _T:
    """A dataclass from nested mappings, with errors that name ``where`` and the key."""
    return _build(kind, tables, where, ())


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _build(kind: type[_T], table: Mapping[str, Any], where: str, keys: tuple[str, ...]) -> _T:
    hints = typing.get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise FastEPError("unknown key", node=_place(where, *keys, unknown[0]), remedy=f"known are {', '.join(fields)}")
    values = {name: _value(hints[name], value, where, (*keys, name)) for name, value in table.items()}
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise FastEPError(f"expected {_expected(hints[name])}, found nothing", node=_place(where, *keys, name))
    try:
        return kind(**values)
    except FastEPError as error:
        key = error.node or ""
        raise FastEPError(error.problem, node=_place(where, *keys, key), remedy=error.remedy) from error


def _value(hint: Any, value: Any, where: str, keys: tuple[str, ...]) -> Any:
    """`value` as the type that a field asks for."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        return _build(hint, value, where, keys)
    origin = typing.get_origin(hint)
    if origin is Literal or hint is Any:
        return value  # the class checks it
    if origin in _UNIONS:  # a number or a word, which the class checks
        return value if isinstance(value, str) else _value(typing.get_args(hint)[0], value, where, keys)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(typing.get_args(hint)[0], item, where, keys) for item in value)
    if origin is dict and isinstance(value, Mapping):
        return {name: _value(typing.get_args(hint)[1], item, where, (*keys, name)) for name, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise FastEPError(f"expected {_expected(hint)}, found {value!r}", node=_place(where, *keys))


def _expected(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return "a table"
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    if hint in names:
        return names[hint]
    if hint is Any:
        return "a value"
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, inner))
    if typing.get_origin(hint) in _UNIONS:
        return " or ".join(_expected(part) for part in inner)
    if typing.get_origin(hint) is tuple:
        return f"a list, each {_expected(inner[0])}"
    return f"a table of {_expected(inner[1])} each"


def _place(where: str, *keys: str) -> str:
    return f"{where}: {'.'.join(key for key in keys if key)}"


def _apply(tables: dict[str, Any], change: str | tuple[str, Any]) -> None:
    if isinstance(change, str):
        key, equals, text = change.partition("=")
        value = toml_value(text)
    else:
        (key, value), equals = change, "="
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise FastEPError("expected table.key=value", node=str(change), remedy="for example --set prune.sparsity=0.9")
    table = tables
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise FastEPError(f"{name} is a value, not a table", node=str(change))
    table[names[-1]] = value


def _with_absolute_paths(recipe: Recipe, folder: Path) -> Recipe:
    """Paths in a recipe are relative to its file; a name that is no path there stays what it is (a hub's)."""

    def absolute(name: str) -> str:
        return str((folder / name).resolve()) if name and (folder / name).exists() else name

    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, path=absolute(recipe.model.path)),
        data=dataclasses.replace(recipe.data, train=absolute(recipe.data.train), eval=absolute(recipe.data.eval)),
        distill=dataclasses.replace(recipe.distill, teacher=absolute(recipe.distill.teacher)),
    )
