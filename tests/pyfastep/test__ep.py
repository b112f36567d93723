"""The compiled library: where it is, how it is registered, and which ONNX Runtime is accepted."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

import pyfastep
from pyfastep import _ep


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code with `folder` first on the path of modules."""
    setup = f"import sys; sys.path[:] = [{str(folder)!r}, *{sys.path!r}]\n"
    return subprocess.run([sys.executable, "-c", setup + code], capture_output=True, text=True, check=False)


def test_the_library_is_where_the_package_says(fastep_library: Path) -> None:
    assert Path(pyfastep.get_library_path()).samefile(fastep_library)
    assert Path(pyfastep.get_library_path()).is_absolute()


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_ep, "_package_folders", lambda: [tmp_path])
    with pytest.raises(pyfastep.FastEPError, match=r"libfastep\.so.*pip install"):
        pyfastep.get_library_path()


def test_sources_that_hide_the_installed_package_find_its_library(fastep_library: Path, tmp_path: Path) -> None:
    package = Path(pyfastep.__file__).parent
    (tmp_path / "pyfastep").mkdir()
    for source in (path for path in package.iterdir() if path.suffix != ".so"):
        (tmp_path / "pyfastep" / source.name).symlink_to(source)
    done = run_python("import pyfastep; print(pyfastep.__path__[0]); print(pyfastep.get_library_path())", tmp_path)
    assert done.stdout.split() == [str(tmp_path / "pyfastep"), str(fastep_library.resolve())], done.stderr


def test_names() -> None:
    assert pyfastep.get_ep_name() == "FastEPExecutionProvider"
    assert pyfastep.get_ep_names() == [pyfastep.get_ep_name()]


def test_register_may_be_called_again(fastep_library: Path) -> None:
    pyfastep.register()
    pyfastep.register()
    devices = [d for d in onnxruntime.get_ep_devices() if d.ep_name == pyfastep.get_ep_name()]
    assert len(devices) == len(_ep.get_devices()) == 1


def test_register_from_many_threads_registers_once(fastep_library: Path, tmp_path: Path) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
import pyfastep
with ThreadPoolExecutor(8) as pool:
    for result in [pool.submit(pyfastep.register) for _ in range(32)]:
        result.result()
from pyfastep import _ep
print(len(_ep.get_devices()))
"""
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1"


def test_register_accepts_that_another_did_it_under_another_name(fastep_library: Path, tmp_path: Path) -> None:
    code = """
import onnxruntime, pyfastep
onnxruntime.register_execution_provider_library("mine", pyfastep.get_library_path())
pyfastep.register()
print("good")
"""
    assert run_python(code, tmp_path).stdout.strip() == "good"


ASK = """
import pyfastep
try:
    pyfastep.InferenceSession("model.onnx")
except pyfastep.FastEPError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("__version__ = '1.22.1'", "1.23 or later is needed, 1.22.1 is installed"),
        ("raise ImportError('no such runtime')", "cannot be imported: no such runtime"),
        ("", "damaged"),
    ],
)
def test_an_unsuitable_runtime_is_told(tmp_path: Path, module: str, expected: str) -> None:
    (tmp_path / "onnxruntime.py").write_text(module)
    done = run_python(ASK, tmp_path)
    assert expected in done.stdout, done.stderr
    assert "pip install" in done.stdout


def test_a_library_that_does_not_load_is_told(tmp_path: Path) -> None:
    (tmp_path / "libfastep.so").write_bytes(b"not a library")
    code = f"""
import pyfastep
pyfastep.__path__.insert(0, {str(tmp_path)!r})
try:
    pyfastep.register()
except pyfastep.FastEPError as error:
    print(error)
"""
    done = run_python(code, tmp_path)
    assert "cannot load" in done.stdout, done.stderr
    assert str(tmp_path / "libfastep.so") in done.stdout


def test_distributions_that_bring_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name not in ("onnxruntime-gpu", "ort-nightly", "numpy"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    assert "onnxruntime" in "".join(_ep.runtime_distributions())
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert _ep.runtime_distributions() == ("onnxruntime-gpu", "ort-nightly")
