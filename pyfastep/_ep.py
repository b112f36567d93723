"""The compiled library and ONNX Runtime: where the library lies, how it is registered, which runtime is there."""

from __future__ import annotations

import contextlib
import importlib.metadata
import threading
from pathlib import Path
from typing import Any

import pyfastep
from pyfastep.errors import FastEPError

EP_NAME = "FastEPExecutionProvider"
REGISTRATION_NAME = "fastep"
MINIMUM_ONNXRUNTIME = (1, 23)
TO_FASTEP = "quantize the float model (`fastep quantize`), then `fastep convert` it"
ASK_DOCTOR = "`fastep doctor` tells what is installed here"

# The distributions that bring the Python package `onnxruntime`.
RUNTIME_DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)

_register_lock = threading.Lock()
_LIBRARY_NAME = "libfastep.so"


def get_library_path() -> str:
    """Absolute path of the shared library with the execution provider and the custom ops.

    It is what ``onnxruntime.register_execution_provider_library`` and
    ``SessionOptions.register_custom_ops_library`` take, from any language.

    Raises:
        FastEPError: The library was not built with this installation.
    """
    folders = _package_folders()
    for folder in folders:
        if (folder / _LIBRARY_NAME).is_file():
            return str(folder / _LIBRARY_NAME)
    raise FastEPError(
        f"the compiled library {_LIBRARY_NAME} was expected in {' or '.join(map(str, folders))} and is not there",
        remedy="install the package with `pip install .`, or a wheel for this platform",
    )


def _package_folders() -> list[Path]:
    # An editable install has two folders: the sources and, in site-packages, what was compiled.
    folders = [Path(folder).resolve() for folder in pyfastep.__path__]
    # Python started in a clone imports the sources there, which hide the installed package and have no library.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        installed = Path(str(importlib.metadata.distribution("pyfastep").locate_file("pyfastep"))).resolve()
        if installed not in folders:
            folders.append(installed)
    return folders


def get_ep_name() -> str:
    """Name of the execution provider."""
    return EP_NAME


def get_ep_names() -> list[str]:
    """Names of all execution providers of the library: there is one."""
    return [EP_NAME]


def runtime_version(onnxruntime: Any) -> tuple[int, int]:
    """Major and minor version of an imported `onnxruntime`."""
    major, minor = str(onnxruntime.__version__).split(".")[:2]
    return int(major), int(minor)


def runtime_distributions() -> tuple[str, ...]:
    """Names of the installed distributions that bring `onnxruntime`: one, if all is well."""
    found = []
    for name in RUNTIME_DISTRIBUTIONS:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return tuple(found)


def import_onnxruntime() -> Any:
    """Import ONNX Runtime and check its version.

    Raises:
        FastEPError: There is none, it cannot be loaded, or it is older than 1.23.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise FastEPError(
            f"ONNX Runtime cannot be imported: {error}",
            remedy="pip install onnxruntime, or any other package of it, of version 1.23 or later",
        ) from error
    if not hasattr(onnxruntime, "__version__"):
        raise FastEPError(
            "the installed package `onnxruntime` is damaged (often two onnxruntime packages in one environment)",
            remedy="uninstall all onnxruntime packages, then pip install one, of version 1.23 or later",
        )
    if runtime_version(onnxruntime) < MINIMUM_ONNXRUNTIME:
        raise FastEPError(
            f"ONNX Runtime 1.23 or later is needed, {onnxruntime.__version__} is installed",
            remedy=f"pip install --upgrade {' '.join(runtime_distributions()) or 'onnxruntime'}",
        )
    return onnxruntime


def get_devices() -> list[Any]:
    """The `onnxruntime.OrtEpDevice` objects of FastEP; empty before :func:`register`."""
    return [device for device in import_onnxruntime().get_ep_devices() if device.ep_name == EP_NAME]


def register() -> None:
    """Make the execution provider known to ONNX Runtime; further calls do nothing.

    Safe to call from several threads. The library stays registered until the process ends: ONNX Runtime crashes when
    a library is unregistered while a session that uses it is alive.

    Raises:
        FastEPError: No suitable ONNX Runtime, no compiled library, or ONNX Runtime refused it.
    """
    onnxruntime = import_onnxruntime()
    with _register_lock:
        if get_devices():  # also when somebody else registered the library under another name
            return
        library = get_library_path()
        try:
            onnxruntime.register_execution_provider_library(REGISTRATION_NAME, library)
        except Exception as error:
            raise FastEPError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {library}: {error}",
                remedy=ASK_DOCTOR,
            ) from error
        if not get_devices():
            raise FastEPError(
                f"ONNX Runtime {onnxruntime.__version__} loaded {library} but lists no device for it",
                remedy=ASK_DOCTOR,
            )
