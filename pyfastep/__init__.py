"""FastEP: pruned and quantized transformers, fast on x86 CPUs inside ONNX Runtime.

>>> import pyfastep
>>> session = pyfastep.InferenceSession("fast.onnx")  # an onnxruntime.InferenceSession

Everything is loaded when it is first used, so that importing the package costs almost nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyfastep._ep import get_ep_name, get_ep_names, get_library_path, register
    from pyfastep.compiled import compile_model
    from pyfastep.convert import convert
    from pyfastep.errors import FastEPError
    from pyfastep.profile import profile
    from pyfastep.quantize import quantize
    from pyfastep.session import InferenceSession

__version__: str

__all__ = [
    "FastEPError",
    "InferenceSession",
    "__version__",
    "compile_model",
    "convert",
    "get_ep_name",
    "get_ep_names",
    "get_library_path",
    "profile",
    "quantize",
    "register",
]

UNINSTALLED = "0+uninstalled"

_HOME = {
    "FastEPError": "errors",
    "InferenceSession": "session",
    "compile_model": "compiled",
    "convert": "convert",
    "get_ep_name": "_ep",
    "get_ep_names": "_ep",
    "get_library_path": "_ep",
    "profile": "profile",
    "quantize": "quantize",
    "register": "_ep",
}


class _Package(ModuleType):
    """Keeps `pyfastep.convert` the function although importing the module `pyfastep.convert` would replace it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pyfastep")
    except PackageNotFoundError:  # imported from its sources
        return UNINSTALLED


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _installed_version()
    elif name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
