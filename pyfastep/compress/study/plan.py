"""What a study is: a recipe, variants of it as cells, seeds; read from a TOML file that is checked like a recipe."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pyfastep.compress.checked import Checked, number
from pyfastep.compress.pattern import parse_pattern
from pyfastep.compress.recipe import Recipe
from pyfastep.compress.recipe_file import file_or_ready, from_tables, load_recipe
from pyfastep.compress.toml_file import read_toml
from pyfastep.errors import FastEPError

__all__ = ["Cell", "Ordering", "Run", "Study", "load_study", "ready_studies"]

_SPARSITY = "prune.sparsity"


@dataclass(frozen=True)
class Cell(Checked):
    """``[[cells]]``: a variant of the recipe.

    Attributes:
        name: Told apart by it.
        set: ``table.key=value`` changes, as of ``fastep compress --set``.
        seeds: Empty: the study's.
        values: Further changes, ``table.key`` to a value of any kind, as a grid makes them.
    """

    name: str
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = number((), least=0)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ordering(Checked):
    """``[[orderings]]``: which of two cells is expected to be at least as good as the other."""

    better: str
    worse: str


@dataclass(frozen=True)
class Run:
    """One cell with one seed.

    Attributes:
        cell: Name of the cell.
        seed: Of the recipe.
        recipe: What ``compress`` runs.
        folder: Its output, relative to the folder of all runs.
    """

    cell: str
    seed: int
    recipe: Recipe
    folder: str

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of each step, see :func:`pyfastep.compress.pipeline.step_digests`."""
        from pyfastep.compress.pipeline import step_digests

        return step_digests(self.recipe)


@dataclass(frozen=True)
class Study(Checked):
    """A study; every combination of ``grid`` values is a cell, those of ``cells`` come after them.

    Attributes:
        name: Of the study.
        recipe: Name of a ready recipe, or a file, relative to the study's.
        description: For the report.
        set: Changes of the recipe for all cells, such as the budget.
        seeds: Of every cell that names none.
        grid: Recipe key to the values that it takes.
        cells: See :class:`Cell`.
        orderings: Pairs to compare, see :class:`Ordering`; empty: all pairs.
        keep: What a finished run keeps: ``all``, or its ``report`` (plots with it), data, dense model, and what runs
            that are not finished can take over.
        folder: Of the file.
    """

    name: str
    recipe: str
    description: str = ""
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = number((0,), least=0)
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    orderings: tuple[Ordering, ...] = ()
    keep: Literal["all", "report"] = "all"
    folder: str = "."

    @property
    def all_cells(self) -> tuple[Cell, ...]:
        """Those of the grid, and the others."""
        return (*self._grid_cells(), *self.cells)

    def runs(self) -> list[Run]:
        """All of them, the first seed of every cell first: early results say something of every cell.

        Raises:
            FastEPError: A cell's recipe cannot be run; names the cell.
        """
        made = []
        for cell in self.all_cells:
            for place, seed in enumerate(cell.seeds or self.seeds):
                recipe = self._recipe(cell, seed)
                made.append((place, Run(cell.name, seed, recipe, f"{_slug(cell.name)}/seed-{seed}")))
        return [run for _, run in sorted(made, key=lambda entry: entry[0])]

    def _check(self) -> None:
        names = [cell.name for cell in self.all_cells]
        if not names:
            raise FastEPError("expected a grid or cells, found neither", node="cells")
        for name, count in Counter(map(_slug, names)).items():
            if count > 1 or not name:
                raise FastEPError(
                    f"expected names that differ in letters and digits, found {name!r} twice", node="cells"
                )
        for ordering in self.orderings:
            for name in (ordering.better, ordering.worse):
                if name not in names:
                    raise FastEPError(
                        f"no cell is named {name!r}", node="orderings", remedy=f"known are {', '.join(names)}"
                    )
        if not self.seeds:
            raise FastEPError("expected at least one seed, found none", node="seeds")
        for seeds in (self.seeds, *(cell.seeds for cell in self.cells)):
            if len(set(seeds)) < len(seeds):
                raise FastEPError(f"expected different seeds, found {list(seeds)}", node="seeds")

    def _grid_cells(self) -> Iterator[Cell]:
        for values in itertools.product(*self.grid.values()) if self.grid else ():
            pairs = list(zip(self.grid, values, strict=True))
            name = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in pairs)
            yield Cell(name, values=dict(pairs))

    def _recipe(self, cell: Cell, seed: int) -> Recipe:
        near = Path(self.folder) / self.recipe
        try:
            changes: list[str | tuple[str, Any]] = [*self.set, *cell.set, *cell.values.items(), ("seed", seed)]
            recipe = load_recipe(near if near.is_file() else self.recipe, changes)
            _check_sparsity(cell, recipe)
            return recipe
        except FastEPError as error:
            place = f"cell {cell.name!r}: {error.node}"
            raise FastEPError(error.problem, node=place, remedy=error.remedy) from error


def ready_studies() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    folder = Path(str(resources.files("pyfastep.compress") / "recipes" / "studies"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_study(study: str | os.PathLike[str], changes: Iterable[str] = ()) -> Study:
    """Reads a study, and constructs every recipe of it.

    Args:
        study: A TOML file, or the name of a ready study.
        changes: ``table.key=value`` entries for all cells, after the study's own ``set``; what a cell sets stays.

    Raises:
        FastEPError: Not there, not TOML, a key unknown or missing, a value of the wrong type or out of range, or a
            recipe that cannot be run: names the file or the cell, the key, what was expected and what was found.
    """
    path = file_or_ready(study, "study", ready_studies())
    tables = {"folder": str(path.parent.resolve()), **read_toml(path)}
    loaded: Study = from_tables(Study, tables, str(path))
    loaded = replace(loaded, set=(*loaded.set, *changes))
    loaded.runs()
    return loaded


def _check_sparsity(cell: Cell, recipe: Recipe) -> None:
    """A sparsity that the pattern overrules would stand in the cell's name, and in what is said of the differences.

    Raises:
        FastEPError: The cell sets one.
    """
    if not any(change.partition("=")[0].replace(" ", "") == _SPARSITY for change in (*cell.set, *cell.values)):
        return
    pattern, found = parse_pattern(recipe.prune.pattern), recipe.prune.sparsity
    expected = pattern.target(found)
    if not math.isclose(found, expected):
        raise FastEPError(
            f"expected {expected:g}, which the pattern {pattern} decides itself, found {found:g}",
            node=_SPARSITY,
            remedy="give that pattern a cell of its own that sets no sparsity",
        )


def _slug(name: str) -> str:
    """A folder's name."""
    return re.sub(r"[^A-Za-z0-9.+]+", "-", name).strip("-")
