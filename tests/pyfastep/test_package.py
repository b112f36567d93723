"""The package itself: cheap to import, lazy, and what it promises to hold."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable

import pytest

import pyfastep

HEAVY = ("onnx", "onnx_ir", "onnxscript", "torch", "transformers", "onnxruntime", "rich", "typer", "numpy")


def in_fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_imports_nothing_heavy() -> None:
    loaded = json.loads(in_fresh_python("import sys, json, pyfastep; print(json.dumps(sorted(sys.modules)))"))
    assert not [name for name in HEAVY if name in loaded]


def test_importing_takes_under_a_fifth_of_a_second_beyond_onnxruntime() -> None:
    code = (
        "import onnxruntime, time; start = time.process_time()\n"
        "import pyfastep; pyfastep.InferenceSession, pyfastep.register, pyfastep.FastEPError, pyfastep.get_ep_name()\n"
        "print(time.process_time() - start)"
    )
    assert min(float(in_fresh_python(code)) for _ in range(3)) < 0.2


@pytest.mark.parametrize("name", pyfastep.__all__)
def test_everything_promised_is_there(name: str) -> None:
    assert getattr(pyfastep, name) is not None
    assert name in dir(pyfastep)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'nonsense'"):
        pyfastep.nonsense  # noqa: B018


@pytest.mark.parametrize("name", ["convert", "profile", "quantize"])
@pytest.mark.parametrize(
    "first", ["import pyfastep", "import pyfastep.{0}", "from pyfastep.{0} import {0}", "from pyfastep import {0}"]
)
def test_a_function_stays_the_function_however_its_module_is_imported(name: str, first: str) -> None:
    code = f"{first.format(name)}\nimport pyfastep, pyfastep.{name}\nprint(type(pyfastep.{name}).__name__)"
    assert in_fresh_python(code).strip() == "function"


def test_modules_can_still_be_set_as_attributes() -> None:
    module = types.ModuleType("pyfastep.something")
    pyfastep.something = module
    assert pyfastep.something is module
    del pyfastep.something


def test_version_is_that_of_the_distribution() -> None:
    assert pyfastep.__version__[0].isdigit()
    without: Callable[[], str] = pyfastep._installed_version
    assert without() == pyfastep.__version__
