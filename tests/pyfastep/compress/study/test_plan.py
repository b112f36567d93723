"""Studies from TOML: cells of grid and list, seeds, and errors that name what is wrong before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyfastep.compress.study.plan import Cell, Ordering, Study, load_study, ready_studies
from pyfastep.errors import FastEPError

TEXT = """
name = "mine"
recipe = "smoke"
seeds = [0, 1]
set = ["train.steps=7"]

[grid]
"prune.pattern" = ["4x1", "4x4"]
"prune.sparsity" = [0.5]

[[cells]]
name = "no teacher"
set = ["distill.logits=0", "distill.hidden=0"]
seeds = [5]

[[orderings]]
better = "pattern 4x1, sparsity 0.5"
worse = "pattern 4x4, sparsity 0.5"
"""


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_runs_are_cells_times_seeds_first_seeds_first(tmp_path: Path) -> None:
    runs = load_study(write(tmp_path)).runs()
    assert [(run.cell, run.seed) for run in runs] == [
        ("pattern 4x1, sparsity 0.5", 0),
        ("pattern 4x4, sparsity 0.5", 0),
        ("no teacher", 5),
        ("pattern 4x1, sparsity 0.5", 1),
        ("pattern 4x4, sparsity 0.5", 1),
    ]
    assert all(run.recipe.train.steps == 7 and run.recipe.seed == run.seed for run in runs)
    assert [run.recipe.prune.pattern for run in runs] == ["4x1", "4x4", "4x1", "4x1", "4x4"]
    assert runs[2].recipe.distill.logits == 0
    assert len({run.folder for run in runs}) == 5
    assert runs[0].folder == "pattern-4x1-sparsity-0.5/seed-0"


GRID_OF_ANYTHING = r"""
name = "mine"
recipe = "smoke"
set = ["prune.targets={'*'=0.7}"]

[grid]
"prune.targets" = [{"*query*" = 0.5, "*attention*" = 0.9}, {"*attention*" = 0.9}]
"bench.lengths" = [[32, 64]]
"description" = ["\U0001f600 \"said\""]
"quantize.equalize" = [true]
"""


def test_a_grid_varies_tables_lists_and_any_text(tmp_path: Path) -> None:
    recipes = [run.recipe for run in load_study(write(tmp_path, GRID_OF_ANYTHING)).runs()]
    assert [list(recipe.prune.targets.items()) for recipe in recipes] == [
        [("*query*", 0.5), ("*attention*", 0.9)],
        [("*attention*", 0.9)],
    ]
    for recipe in recipes:
        assert recipe.bench.lengths == (32, 64)
        assert recipe.description == '\U0001f600 "said"'
        assert recipe.quantize.equalize is True


def test_equal_steps_have_equal_digests(tmp_path: Path) -> None:
    first, second, *_, other = load_study(write(tmp_path)).runs()
    same = {name for name in first.digests if first.digests[name] == second.digests[name]}
    assert same == {"data", "dense", "reference"}
    assert other.digests["dense"] != first.digests["dense"]  # another seed


def test_changes_concern_all_cells_and_leave_what_a_cell_sets(tmp_path: Path) -> None:
    study = load_study(write(tmp_path), ["train.steps=9", "distill.logits=0.25"])
    assert study.set == ("train.steps=7", "train.steps=9", "distill.logits=0.25")  # the report names them
    assert [(run.recipe.train.steps, run.recipe.distill.logits) for run in study.runs()[:3]] == [
        (9, 0.25),
        (9, 0.25),
        (9, 0),
    ]
    with pytest.raises(FastEPError, match=r"cell '.*4x1.*': .*train.stepps: unknown key"):
        load_study(write(tmp_path), ["train.stepps=9"])


def test_a_recipe_beside_the_study(tmp_path: Path) -> None:
    from pyfastep.compress.recipe_file import ready_recipes

    (tmp_path / "own.toml").write_text(ready_recipes()["smoke"].read_text().replace('"smoke"', '"own"'))
    study = load_study(write(tmp_path, TEXT.replace('recipe = "smoke"', 'recipe = "own.toml"')))
    assert study.runs()[0].recipe.name == "own"


@pytest.mark.parametrize("name", ["minilm-qa", "minilm-qa-patterns", "minilm-embed"])
def test_ready_studies_are_studies(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert set(ready_studies()) == {"minilm-embed", "minilm-qa", "minilm-qa-patterns"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds = [0, 1]", "seed = [0, 1]", r"mine.toml: seed: unknown key \(known are name, recipe"),
        ("seeds = [0, 1]", "seeds = [-1]", r"mine.toml: seeds: expected a number at least 0, found -1"),
        ("seeds = [0, 1]", "seeds = []", r"mine.toml: seeds: expected at least one seed, found none"),
        ("seeds = [0, 1]", "seeds = [1, 1]", r"mine.toml: seeds: expected different seeds, found \[1, 1\]"),
        ('recipe = "smoke"', 'recipe = "smok"', r"cell '.*4x1.*': smok: no such recipe file"),
        ("train.steps=7", "train.stepps=7", r"cell '.*': .*train.stepps: unknown key"),
        ("train.steps=7", "prune.end=7", r"cell '.*4x1.*': .*prune.end: expected a number between 0 and 1, found 7"),
        ("[0.5]", "0.5", r"mine.toml: grid.prune.sparsity: expected a list, each a value, found 0.5"),
        ('name = "no teacher"', "name = 3", r"mine.toml: cells.name: expected a text, found 3"),
        ("no teacher", "pattern 4x1 / sparsity 0.5", r"cells: expected names that differ in letters and digits"),
        (
            'worse = "pattern 4x4',
            'worse = "4x4',
            r"orderings: no cell is named '4x4, sparsity 0.5' \(known are pattern",
        ),
    ],
)
def test_errors(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(FastEPError, match=message):
        load_study(write(tmp_path, TEXT.replace(old, new)))


def test_a_sparsity_that_the_pattern_overrules() -> None:
    """Two cells of a grid would be one and the same, under names that tell of different sparsities."""
    message = r"cell '.*': prune.sparsity: expected 0.5, which the pattern 2:4 decides itself, found 0.8 \(give that"
    for study in (
        Study("x", "smoke", grid={"prune.pattern": ("4x1", "2:4"), "prune.sparsity": (0.5, 0.8)}),
        Study("x", "smoke", set=("prune.pattern=2:4",), cells=(Cell("80 %", set=("prune.sparsity = 0.8",)),)),
    ):
        with pytest.raises(FastEPError, match=message):
            study.runs()
    same = Study("x", "smoke", grid={"prune.pattern": ("4x1", "2:4"), "prune.sparsity": (0.5,)})
    own = Study("x", "smoke", set=("prune.sparsity=0.8",), cells=(Cell("2:4", set=("prune.pattern=2:4",)),))
    assert [len(study.runs()) for study in (same, own)] == [2, 1]


def test_no_cells_and_no_file() -> None:
    with pytest.raises(FastEPError, match="cells: expected a grid or cells, found neither"):
        Study("x", "smoke")
    with pytest.raises(FastEPError, match=r"nowhere.toml: no such study file \(ready ones are minilm-embed"):
        load_study("nowhere.toml")


def test_constructed() -> None:
    study = Study("x", "smoke", cells=(Cell("a"), Cell("b", seeds=(1, 2))), orderings=(Ordering("a", "b"),))
    assert [(run.cell, run.seed) for run in study.runs()] == [("a", 0), ("b", 1), ("b", 2)]
    (run,) = Study("x", "smoke", grid={"bench.lengths": ((32, 64),)}).runs()
    assert run.recipe.bench.lengths == (32, 64)
