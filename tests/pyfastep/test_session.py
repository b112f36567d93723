"""`pyfastep.InferenceSession`: the real class, the user's options respected, and honest about what FastEP leaves."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import pyfastep
from pyfastep._model_scan import fastep_nodes
from pyfastep.errors import FastEPError

from ..stock import exact_session

EP, CPU = "FastEPExecutionProvider", "CPUExecutionProvider"
VERSION = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])

pytestmark = pytest.mark.usefixtures("fastep_library")


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    """A warning is a failure unless the test expects it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def feeds() -> dict[str, Any]:
    ids = np.arange(14).reshape(2, 7)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def test_it_is_the_real_class_and_computes_what_stock_onnxruntime_does(fast_model: Path) -> None:
    session = pyfastep.InferenceSession(fast_model)
    assert type(session) is onnxruntime.InferenceSession
    assert session.get_providers() == [EP, CPU]
    stock = exact_session(fast_model)
    for a, b in zip(session.run(None, feeds()), stock.run(None, feeds()), strict=True):
        assert float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)) > 0.999


def test_a_model_may_be_bytes_or_a_name(fast_model: Path) -> None:
    for model in (str(fast_model), fast_model.read_bytes()):
        assert pyfastep.InferenceSession(model, strict=True).get_providers() == [EP, CPU]


def test_a_model_without_fastep_nodes_is_warned_about(float_model: Path) -> None:
    for strict in (False, True):
        with pytest.warns(UserWarning, match="it has no fastep nodes: .* `fastep convert`"):
            session = pyfastep.InferenceSession(float_model, strict=strict)
        session.run(None, feeds())


def test_a_compiled_model_and_one_in_onnx_runtimes_format_are_not(fast_model: Path, tmp_path: Path) -> None:
    pyfastep.compile_model(fast_model, tmp_path / "c.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    onnxruntime.InferenceSession(str(fast_model), options, providers=[CPU])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in (tmp_path / "c.onnx", tmp_path / "m.ort"):
            pyfastep.InferenceSession(model)


@pytest.mark.parametrize(
    "arguments",
    [
        {"providers": [CPU]},
        {"providers": [EP]},
        {"providers": [EP, CPU]},
        {"providers": [(EP, {"max_tier": "scalar", "strict": True}), CPU]},
        {"providers": [EP, CPU], "provider_options": [{"threads": 2}, {}]},
        {"threads": 1},
        {"max_tier": "avx2"},
        {"enable_fallback": 1},
    ],
)
def test_arguments_of_every_kind(fast_model: Path, arguments: dict[str, Any]) -> None:
    session = pyfastep.InferenceSession(fast_model, **arguments)
    assert session.get_providers() == [EP, CPU]
    assert len(session.run(None, feeds())) == 2


def test_threads_reach_the_session(fast_model: Path) -> None:
    assert pyfastep.InferenceSession(fast_model, threads=3).get_session_options().intra_op_num_threads == 3


@pytest.mark.parametrize("by_keyword", [True, False])
def test_threads_reach_the_provider(fast_model: Path, tmp_path: Path, by_keyword: bool) -> None:
    """ONNX Runtime does not tell it; its profile says what it knows."""
    options = quiet_options()
    if not by_keyword:
        options.intra_op_num_threads = 3
    providers = [(EP, {"profile": str(tmp_path / "p.json")})]
    session = pyfastep.InferenceSession(fast_model, options, providers, threads=3 if by_keyword else None)
    session.run(None, feeds())
    del session
    assert json.loads((tmp_path / "p.json").read_text())["threads"] == 3


def test_the_users_options_are_respected_and_stay_theirs(fast_model: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for strict in (True, False, True):  # the same object again and again
        session = pyfastep.InferenceSession(fast_model, options, strict=strict)
        assert session.get_session_options().intra_op_num_threads == 2
        assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 2
    assert options.log_severity_level == 3
    if VERSION >= (1, 25):
        assert not options.has_providers()
        stock = onnxruntime.InferenceSession(str(fast_model), options, providers=[CPU])
        assert stock.get_providers() == [CPU]


def test_options_that_select_providers_themselves_keep_them(fast_model: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    cpu = [device for device in onnxruntime.get_ep_devices() if device.ep_name == CPU]
    options.add_provider_for_devices(cpu, {})
    session = pyfastep.InferenceSession(fast_model, options)
    assert set(session.get_providers()) == {EP, CPU}


def quiet_options() -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options


def test_a_node_that_is_left_is_warned_about_with_the_count(half_model: Path) -> None:
    count = 1 if VERSION >= (1, 24) else "some"
    total = len(fastep_nodes(half_model))
    with pytest.warns(UserWarning, match=f"leaves {count} of {total} fastep nodes") as caught:
        session = pyfastep.InferenceSession(half_model, quiet_options())
    assert len(caught) == 1
    assert caught[0].filename == __file__  # the caller's line
    assert "\n" not in str(caught[0].message)
    assert len(session.run(None, feeds())) == 2


@pytest.mark.skipif(VERSION < (1, 24), reason="ONNX Runtime 1.23 records no placement")
def test_placement_is_recorded_only_where_nodes_are_left(fast_model: Path, half_model: Path) -> None:
    """The record costs memory."""
    key = "session.record_ep_graph_assignment_info"
    options = pyfastep.InferenceSession(fast_model).get_session_options()
    with pytest.raises(RuntimeError, match=key):
        options.get_session_config_entry(key)
    with pytest.warns(UserWarning, match="leaves 1 of"):
        options = pyfastep.InferenceSession(half_model).get_session_options()
    assert options.get_session_config_entry(key) == "1"


def test_a_node_that_is_left_is_an_error_with_strict(half_model: Path) -> None:
    with pytest.raises(FastEPError, match="QLinear_of_tomorrow"):
        pyfastep.InferenceSession(half_model, quiet_options(), strict=True)
    with pytest.raises(FastEPError, match="QLinear_of_tomorrow"):
        pyfastep.InferenceSession(half_model, quiet_options(), providers=[(EP, {"strict": "1"})])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strikt": True}, "no option 'strikt' .*known are strict, threads, max_tier"),
        ({"providers": [(EP, {"tier": "avx2"})]}, "no option 'tier' .*known are max_tier, threads, strict"),
        ({"providers": [CPU], "provider_options": []}, r"one entry of provider_options per provider \(1\), found 0"),
        ({"threads": 0}, "threads must be at least 1, found 0"),
        ({"max_tier": "avx3"}, "max_tier.*scalar, avx2, avxvnni, avx512vnni, amx.*'avx3'"),
        ({"providers": [(EP, {"threads": "many"})]}, "threads.*'many'"),
    ],
)
def test_bad_options_are_told_with_the_good_ones(fast_model: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FastEPError, match=message):
        pyfastep.InferenceSession(fast_model, quiet_options() if "threads" not in arguments else None, **arguments)


@pytest.mark.parametrize("providers", [None, [(EP, {"max_tier": "scalar"}), CPU]])
def test_threads_that_the_options_leave_open(fast_model: Path, providers: Any) -> None:
    """0 is SessionOptions' default, and there again when the session is open."""
    options = quiet_options()
    for threads in (2, 3):
        session = pyfastep.InferenceSession(fast_model, options, providers, threads=threads)
        assert session.get_session_options().intra_op_num_threads == threads
        assert options.intra_op_num_threads == 0
    with pytest.raises(FastEPError, match="no option"):
        pyfastep.InferenceSession(fast_model, options, [(EP, {"tier": "x"})], threads=2)
    with pytest.raises(Exception, match="missing"):
        pyfastep.InferenceSession("missing.onnx", options, threads=2)
    assert options.intra_op_num_threads == 0


def test_contradicting_threads_are_told(fast_model: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    assert pyfastep.InferenceSession(fast_model, options, threads=2)
    with pytest.raises(FastEPError, match=r"threads=1 contradicts sess_options.intra_op_num_threads=2"):
        pyfastep.InferenceSession(fast_model, options, threads=1)


def test_errors_of_onnxruntime_stay_its_own(tmp_path: Path, fast_model: Path) -> None:
    with pytest.raises(Exception, match="File doesn't exist") as caught:
        pyfastep.InferenceSession(tmp_path / "missing.onnx")
    assert not isinstance(caught.value, FastEPError)
    (tmp_path / "cut.onnx").write_bytes(fast_model.read_bytes()[:-50])
    with pytest.raises(Exception, match=r"(?i)protobuf"):
        pyfastep.InferenceSession(tmp_path / "cut.onnx")


def printed_by_opening(model: Path) -> str:
    code = f"import pyfastep; pyfastep.InferenceSession({str(model)!r})"
    setup = f"import sys; sys.path[:] = {sys.path!r}\n"
    done = subprocess.run([sys.executable, "-c", setup + code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr


def test_nothing_is_printed(fast_model: Path) -> None:
    assert printed_by_opening(fast_model) == ""


@pytest.mark.skipif(VERSION < (1, 24), reason="ONNX Runtime 1.23 prints none of the provider's log, and one of its own")
def test_of_the_strict_session_that_failed_nothing_is_printed(half_model: Path) -> None:
    printed = printed_by_opening(half_model)
    assert "left to ONNX Runtime: node" in printed
    assert "UserWarning: FastEP leaves" in printed
    assert printed.count("QLinear_of_tomorrow") == 2
    assert "refused" not in printed
