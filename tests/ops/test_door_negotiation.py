"""Version negotiation against runtimes that are not installed: a made-up OrtApiBase in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# A runtime whose C API has one working function, the first of every version's table: CreateStatus.
FAKE_RUNTIME = """
import ctypes, json, sys

path, version, knows = sys.argv[1], sys.argv[2], int(sys.argv[3])
library = ctypes.CDLL(path)
messages, asked = [], []

@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
def create_status(code, message):
    messages.append(message.decode())
    return 1

table = (ctypes.c_void_p * 1000)(ctypes.cast(create_status, ctypes.c_void_p).value)
version_text = ctypes.create_string_buffer(version.encode())

@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)
def get_api(number):
    asked.append(number)
    return ctypes.addressof(table) if number <= knows else None

@ctypes.CFUNCTYPE(ctypes.c_void_p)
def get_version_string():
    return ctypes.addressof(version_text)

base = (ctypes.c_void_p * 2)(*(ctypes.cast(f, ctypes.c_void_p).value for f in (get_api, get_version_string)))
for function in (library.RegisterCustomOps, library.CreateEpFactories):
    function.restype = ctypes.c_void_p
factories, count = (ctypes.c_void_p * 1)(), ctypes.c_size_t(7)
refused = [
    library.RegisterCustomOps(None, base),
    library.CreateEpFactories(b"fastep", base, None, factories, ctypes.c_size_t(1), ctypes.byref(count)),
]
print(json.dumps({"refused": [status is not None for status in refused], "messages": messages, "asked": asked}))
"""


def negotiate(library: Path, version: str, knows: int) -> dict[str, Any]:
    """What both entry points answer to a runtime of `version` whose GetApi knows the API up to `knows`."""
    command = [sys.executable, "-c", FAKE_RUNTIME, str(library), version, str(knows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("version", ["1.22.1", "1.8.0", "0.5.0", "unknown", ""])
def test_old_runtimes_are_refused(fastep_library: Path, version: str) -> None:
    answer = negotiate(fastep_library, version, 22)
    assert answer["refused"] == [True, True]
    assert set(answer["asked"]) == {1}, "nothing newer than what every runtime has"
    for message in answer["messages"]:
        assert "needs ONNX Runtime 1.23 or later, found " + version in message
        assert "pip install -U onnxruntime" in message


def test_a_runtime_without_the_api_it_should_have_is_refused(fastep_library: Path) -> None:
    answer = negotiate(fastep_library, "1.24.0", 22)
    assert answer["refused"] == [True, True]
    assert all(number <= 24 for number in answer["asked"]), "never newer than the runtime's own version"
    assert max(answer["asked"]) >= 23
