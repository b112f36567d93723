"""Sessions in a process of their own: one that would write or read past a tensor must not take the tests along."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

from .doors import EP_NAME, Array

_CODE = f"""
import json, sys
import numpy as np
import onnxruntime

library, folder, model, options = json.loads(sys.argv[1])
onnxruntime.register_execution_provider_library("fastep", library)
session_options = onnxruntime.SessionOptions()
session_options.log_severity_level = 4
session_options.intra_op_num_threads = 1
devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == {EP_NAME!r}]
session_options.add_provider_for_devices(devices, options)
try:
    session = onnxruntime.InferenceSession(model, session_options)
    found = session.run(None, dict(np.load(folder + "/feeds.npz")))
except Exception as error:
    print(error)
else:
    np.savez(folder + "/found.npz", *found)
    print("ran")
"""


class SessionError(Exception):
    """What the session of the other process raised."""


def run_apart(
    library: Path,
    folder: Path,
    model: onnx.ModelProto | Path,
    feeds: dict[str, Array],
    options: dict[str, str] | None = None,
) -> list[Array]:
    """What a session of the provider answers, strict unless `options` say otherwise.

    Raises:
        SessionError: what the session raised. A crash fails the test.
    """
    path = model if isinstance(model, Path) else folder / "apart.onnx"
    if isinstance(model, onnx.ModelProto):
        onnx.save(model, path)
    np.savez(folder / "feeds.npz", **feeds)
    arguments = json.dumps([str(library), str(folder), str(path), {"strict": "1"} | (options or {})])
    command = [sys.executable, "-c", _CODE, arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"crashed with {done.returncode}: {done.stderr}"
    if done.stdout.strip() != "ran":
        raise SessionError(done.stdout)
    with np.load(folder / "found.npz") as found:
        return [found[name] for name in found.files]
