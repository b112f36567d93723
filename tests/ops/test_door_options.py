"""Options, environment variables, device metadata and the version floor of both doors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from . import doors

OPTIONS = {"max_tier": "amx", "threads": "0", "strict": "0", "skip_padding": "auto", "profile": ""}
TIERS = ["scalar", "avx2", "avxvnni", "avx512vnni", "amx"]


def case() -> doors.Case:
    return doors.make_case("QLinear_relu_u8_sparse", 40, 24)


def model() -> onnx.ModelProto:
    return doors.chain_model([case()])


def test_metadata_of_the_device(fastep_library: Path) -> None:
    (device,) = doors.devices(fastep_library)
    assert device.ep_vendor == "FastEP"
    metadata = dict(device.ep_metadata)
    built, supported = metadata["tiers_built"].split(","), metadata["tiers_supported"].split(",")
    assert metadata["ops"].split(",") == ["QLinear", "QAttention", "FAttention", "SkipLayerNorm", "EmbedLayerNorm"]
    assert metadata["options"] == ",".join(f"{key}={value}" for key, value in OPTIONS.items())
    assert metadata["tier"] == supported[-1]
    assert supported == [tier for tier in TIERS if tier in supported], "from the worst to the best"
    assert set(supported) <= set(built)
    assert metadata["version"][0].isdigit()


@pytest.mark.parametrize("options", [{}, OPTIONS, {"threads": "4096"}, {"max_tier": "scalar", "strict": "1"}])
def test_good_options(fastep_library: Path, options: dict[str, str]) -> None:
    x = case().x(2, 3)
    assert np.array_equal(
        doors.run(doors.open_session(fastep_library, model(), options=options), x), case().expected(x)
    )


def test_an_unknown_option_lists_the_known_ones(fastep_library: Path) -> None:
    with pytest.raises(Exception, match="FastEPExecutionProvider: unknown option 'thread'; the options are:") as info:
        doors.open_session(fastep_library, model(), options={"thread": "2"})
    for key, default in OPTIONS.items():
        assert f"{key} (default {default}): " in str(info.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_tier", "sse9", "one of scalar, avx2, avxvnni, avx512vnni, amx"),
        ("max_tier", "AVX2", "one of scalar, avx2, avxvnni, avx512vnni, amx"),
        ("threads", "two", "a whole number from 0 to 4096"),
        ("threads", "-1", "a whole number from 0 to 4096"),
        ("threads", "4097", "a whole number from 0 to 4096"),
        ("threads", "99999999999999999999", "a whole number from 0 to 4096"),
        ("threads", "", "a whole number from 0 to 4096"),
        ("strict", "yes", "0 or 1"),
        ("skip_padding", "2", "auto, 0 or 1"),
    ],
)
def test_bad_values(fastep_library: Path, key: str, value: str, expected: str) -> None:
    """An exception, although ONNX Runtime's Python package would go on without a provider that it cannot create."""
    with pytest.raises(Exception, match=f"option '{key}': expected {expected}, found '{value}'"):
        doors.open_session(fastep_library, model(), options={key: value})


def test_options_of_others_are_not_ours(fastep_library: Path) -> None:
    doors.open_session(fastep_library, model(), config={"ep.otherexecutionprovider.thread": "2"})


def run_python(
    library: Path, code: str, python: str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`code` in a process of its own, where `library` is its path; it prints what it found as JSON."""
    prelude = f"import json, onnxruntime\nlibrary = {str(library)!r}\n"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FASTEP_")}
    command = [python, "-c", prelude + code]
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=120, check=False)


REFUSED_BY_BOTH_DOORS = """
found = []
doors = [onnxruntime.SessionOptions().register_custom_ops_library]
if hasattr(onnxruntime, "register_execution_provider_library"):
    doors.append(lambda path: onnxruntime.register_execution_provider_library("fastep", path))
for door in doors:
    try:
        door(library)
        found.append("accepted")
    except Exception as error:
        found.append(str(error))
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("FASTEP_LOG", "loud", "FASTEP_LOG: expected one of error, warning, info, debug, found 'loud'"),
        ("FASTEP_MAX_TIER", "sse9", "FASTEP_MAX_TIER: unknown tier 'sse9'"),
    ],
)
def test_bad_environment(fastep_library: Path, variable: str, value: str, expected: str) -> None:
    done = run_python(fastep_library, REFUSED_BY_BOTH_DOORS, **{variable: value})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 2
    assert all(expected in message for message in found), found


def test_the_environment_only_lowers_the_tier(fastep_library: Path) -> None:
    code = """
onnxruntime.register_execution_provider_library("fastep", library)
devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == "FastEPExecutionProvider"]
print(json.dumps([device.ep_metadata["tier"] for device in devices]))
"""
    for limit, expected in [("scalar", "scalar"), ("amx", None)]:
        done = run_python(fastep_library, code, FASTEP_MAX_TIER=limit)
        assert done.returncode == 0, done.stderr
        best = doors.devices(fastep_library)[0].ep_metadata["tiers_supported"].split(",")[-1]
        assert json.loads(done.stdout) == [expected or best]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_log_levels(
    fastep_library: Path, level: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTEP_LOG", level)
    for door in doors.DOORS[:2]:
        doors.open_session(fastep_library, doors.chain_model([case()], functions=door == "provider"), door)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("[fastep]")]
    node = "[fastep] debug: node 'linear0' (fastep::QLinear_relu_u8_sparse): N 40, K 24, "
    debug = [line for line in lines if line.startswith(node)]
    info = [line for line in lines if line.startswith("[fastep] info: takes 1 of 1 fastep nodes, tier ")]
    assert len(debug) == (2 if level == "debug" else 0)
    assert bool(info) == (level in {"debug", "info"})
    assert len(debug) + len(info) == len(lines)


def test_messages_go_to_the_session_log(
    fastep_library: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FASTEP_LOG", raising=False)
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 1
    session_options.add_provider_for_devices(doors.devices(fastep_library), {})
    onnxruntime.InferenceSession(model().SerializeToString(), session_options)
    assert "takes 1 of 1 fastep nodes, tier " in capfd.readouterr().err


def test_a_runtime_below_the_floor_is_refused(fastep_library: Path) -> None:
    """Opt in: FASTEP_OLD_PYTHON names a Python whose onnxruntime is older than 1.23."""
    python = os.environ.get("FASTEP_OLD_PYTHON")
    if python is None:
        pytest.skip("FASTEP_OLD_PYTHON is not set: a Python with an onnxruntime below 1.23, for example 1.22.1")
    ask = [python, "-c", "import onnxruntime; print(onnxruntime.__version__)"]
    version = subprocess.check_output(ask, text=True).strip()
    assert tuple(map(int, version.split(".")[:2])) < (1, 23), f"{python} has onnxruntime {version}"
    done = run_python(fastep_library, REFUSED_BY_BOTH_DOORS, python)
    assert done.returncode == 0, done.stderr
    assert all(f"needs ONNX Runtime 1.23 or later, found {version}" in message for message in json.loads(done.stdout))
