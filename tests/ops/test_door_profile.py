"""The provider's option `profile`: what a session's file says of its subgraphs, steps and Runs."""

from __future__ import annotations

import gc
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import doors
from .encoder_graph import HEADS, EncoderGraph, encoder, encoder_feeds

LAYER_STEPS = ["linear", "attention", "linear", "norm", "linear", "linear", "norm"]
FEATURES = 32
INNER = 2 * FEATURES + 3


def read(path: Path) -> dict[str, Any]:
    profile = json.loads(path.read_text())
    assert profile["format"] == "fastep-profile"
    assert profile["version"] == 1
    return profile


def profile_runs(
    library: Path, path: Path, graph: EncoderGraph, outputs: list[str], feeds: list[Any], **options: str
) -> dict[str, Any]:
    """The file that a session leaves, whose Runs answered what they must."""
    session = doors.open_session(library, graph.model(outputs), options={"profile": str(path), **options})
    for values in feeds:
        expected = graph.expected(outputs, values)
        if "skip_padding" not in options:
            for y, wanted in zip(session.run(None, values), expected, strict=True):
                assert np.array_equal(y, wanted)
        else:
            session.run(None, values)
    del session
    gc.collect()
    return read(path)


def only(values: list[Any]) -> Any:
    (value,) = values
    return value


def test_steps_of_an_encoder(fastep_library: Path, tmp_path: Path) -> None:
    graph, outputs = encoder(FEATURES, layers=2)
    profile = profile_runs(fastep_library, tmp_path / "p.json", graph, outputs, [encoder_feeds(2, 5)], threads="2")
    assert (profile["complete"], profile["threads"]) == (True, 2)
    assert profile["tier"] == doors.devices(fastep_library)[0].ep_metadata["tier"]
    steps = only(profile["subgraphs"])["steps"]
    assert [s["op"] for s in steps if s["op"] != "export"] == ["embed", "norm", *LAYER_STEPS, *LAYER_STEPS]
    assert sum(s["op"] == "export" for s in steps) == len(outputs)
    names = [node.name for node in graph.nodes]
    assert {name for step in steps for name in step["nodes"]} == set(names), "every node is told, no other"
    merged = next(s for s in steps if s["op"] == "linear")
    assert merged["nodes"] == names[1:4], "the projections are one product"
    assert (merged["product"]["n"], merged["product"]["k"]) == (3 * FEATURES, FEATURES)


@pytest.mark.parametrize("sparse", ["", "_sparse"])
def test_work_of_steps(fastep_library: Path, tmp_path: Path, sparse: str) -> None:
    """Every count from the shapes: M N K products of a linear, 2 S S H of attention per sequence without a mask."""
    graph, outputs = encoder(FEATURES, sparse, layers=1)
    batch, length, runs = 3, 7, 5
    feeds = encoder_feeds(batch, length)
    feeds["attention_mask"][:] = 1
    profile = profile_runs(fastep_library, tmp_path / "p.json", graph, outputs, [feeds] * runs)
    subgraph = only(profile["subgraphs"])
    totals = only(subgraph["shapes"])
    tokens = batch * length * runs
    assert (totals["shape"], totals["runs"], totals["tokens"]) == ([batch, length], runs, tokens)
    assert totals["lanes"] >= tokens
    assert totals["lanes"] % (16 * runs) == 0
    sizes = [(3 * FEATURES, FEATURES), (FEATURES, FEATURES), (INNER, FEATURES), (FEATURES, INNER)]
    for label, step in zip(subgraph["steps"], totals["steps"], strict=True):
        assert step["calls"] >= runs
        if label["op"] == "linear":
            product = label["product"]
            n, k = sizes.pop(0)
            assert (product["n"], product["k"]) == (n, k)
            assert step["dense_macs"] == tokens * n * k
            assert step["macs"] == pytest.approx(step["dense_macs"] * product["work_density"], abs=runs)
            assert product["kind_density"][product["kernel"]] <= product["work_density"] + 1e-9
            assert (product["density"] < 0.9) == (sparse != "")
            assert step["weight_bytes"] == product["packed_bytes"] * step["calls"]
        elif label["op"] == "attention":
            assert step["macs"] == step["dense_macs"] == 2 * batch * runs * length * length * FEATURES
        elif label["op"] == "embed":
            assert step["weight_bytes"] > 0
        else:
            assert step["macs"] == step["dense_macs"] == step["weight_bytes"] == 0
    assert not sizes
    assert HEADS * 16 == FEATURES


def test_hidden_keys_and_padding_are_no_work(fastep_library: Path, tmp_path: Path) -> None:
    graph, outputs = encoder(FEATURES, layers=1)
    feeds = encoder_feeds(4, 12)
    feeds["attention_mask"][:] = np.arange(12) < np.array([12, 3, 5, 1])[:, None]
    lengths = [12, 3, 5, 1]
    found = {}
    for skip in ("0", "1"):
        path = tmp_path / f"{skip}.json"
        profile = profile_runs(fastep_library, path, graph, outputs, [feeds], skip_padding=skip)
        subgraph = only(profile["subgraphs"])
        totals = only(subgraph["shapes"])
        assert totals["skips_padding"] == (skip == "1")
        attention = [s["op"] for s in subgraph["steps"]].index("attention")
        found[skip] = (totals["tokens"], totals["steps"][attention]["macs"])
    assert found["0"] == (48, 2 * FEATURES * sum(12 * keys for keys in lengths))
    assert found["1"] == (21, 2 * FEATURES * sum(keys * keys for keys in lengths))


def test_durations_add_up(fastep_library: Path, tmp_path: Path) -> None:
    """Steps are a part of their Run; the last durations are those of the last Runs, one per step and Run."""
    graph, outputs = encoder(FEATURES, layers=1)
    runs = 9
    profile = profile_runs(fastep_library, tmp_path / "p.json", graph, outputs, [encoder_feeds(2, 33)] * runs)
    totals = only(only(profile["subgraphs"])["shapes"])
    for part in (totals, *totals["steps"]):
        assert len(part["last_ns"]) == runs
        assert sum(part["last_ns"]) == part["total_ns"]
        assert min(part["last_ns"]) == part["min_ns"]
        assert sorted(part["last_ns"])[runs // 2] == part["median_ns"]
    for run, whole in enumerate(totals["last_ns"]):
        assert 0 < sum(step["last_ns"][run] for step in totals["steps"]) <= whole
    if profile["tier"] != "scalar":
        assert 1e9 < profile["peak_macs_per_second"] < 1e14
    assert 1e8 < profile["read_bytes_per_second"] < 1e13


def test_the_peak_of_every_tier(fastep_library: Path, tmp_path: Path) -> None:
    """Wider instructions do more; no kernel does more than the peak, give or take the clock's changes."""
    graph, outputs = encoder(FEATURES, "", layers=1)
    feeds = encoder_feeds(16, 64)
    peaks = []
    for tier in doors.devices(fastep_library)[0].ep_metadata["tiers_supported"].split(","):
        profile = profile_runs(
            fastep_library, tmp_path / f"{tier}.json", graph, outputs, [feeds], max_tier=tier, threads="1"
        )
        assert profile["tier"] == tier
        peaks.append(profile["peak_macs_per_second"])
        for step in only(only(profile["subgraphs"])["shapes"])["steps"]:
            if tier != "scalar" and step["macs"] > 0:
                assert step["macs"] / (step["min_ns"] / 1e9) < 2 * peaks[-1]
    assert peaks[0] == 0, "scalar has no instruction for products"
    assert all(peak > 1e9 for peak in peaks[1:])


def test_many_runs_keep_the_last(fastep_library: Path, tmp_path: Path) -> None:
    case = doors.make_case("QLinear_relu_u8_sparse", 40, 24)
    path = tmp_path / "p.json"
    session = doors.open_session(fastep_library, doors.chain_model([case]), options={"profile": str(path)})
    x = case.x(1, 3)
    for _ in range(300):
        doors.run(session, x)
    assert not read(path)["complete"]
    assert only(only(read(path)["subgraphs"])["shapes"])["runs"] == 256, "written at powers of two"
    del session
    gc.collect()
    totals = only(only(read(path)["subgraphs"])["shapes"])
    assert (totals["runs"], len(totals["last_ns"])) == (300, 256)
    assert totals["total_ns"] > sum(totals["last_ns"])


@pytest.mark.parametrize("name", ["QLinear_relu_u8_sparse", "QLinear_f32"])
def test_a_single_node(fastep_library: Path, tmp_path: Path, name: str) -> None:
    """A node in its own form, without a plan around it; shapes apart."""
    case = doors.make_case(name, 40, 24)
    path = tmp_path / "p.json"
    session = doors.open_session(fastep_library, doors.chain_model([case]), options={"profile": str(path)})
    for leading in ((2, 3), (1, 5), (2, 3), (0, 4)):
        x = case.x(*leading)
        assert np.array_equal(doors.run(session, x), case.expected(x))
    del session
    gc.collect()
    subgraph = only(read(path)["subgraphs"])
    label = only(subgraph["steps"])
    assert (label["op"], label["nodes"]) == ("linear", ["linear0"])
    assert [(t["shape"], t["runs"], t["tokens"]) for t in subgraph["shapes"]] == [
        ([2, 3], 2, 12),
        ([1, 5], 1, 5),
        ([0, 4], 1, 0),
    ]
    assert [only(t["steps"])["dense_macs"] for t in subgraph["shapes"]] == [12 * 40 * 24, 5 * 40 * 24, 0]


def test_predictions_of_other_kernels(fastep_library: Path, tmp_path: Path) -> None:
    case = doors.make_case("QLinear_u8_sparse", 64, 64, block=(4, 4), density=0.2)
    profile = profile_single(fastep_library, tmp_path, case)
    product = only(only(profile["subgraphs"])["steps"])["product"]
    cycles = {(p["kernel"], p["density"]): p["cycles_per_token"] for p in product["predictions"]}
    assert ("dense", 1) in cycles
    assert all(value > 0 for value in cycles.values())
    for kernel in {kernel for kernel, _ in cycles} - {"dense"}:
        by_density = [value for (name, _), value in sorted(cycles.items()) if name == kernel]
        assert by_density == sorted(by_density), "more blocks cost more"
        assert len(by_density) >= 4


def profile_single(library: Path, tmp_path: Path, case: doors.Case) -> dict[str, Any]:
    path = tmp_path / "p.json"
    doors.run(doors.open_session(library, doors.chain_model([case]), options={"profile": str(path)}), case.x(1, 3))
    gc.collect()
    return read(path)


def test_structure_of_weights(fastep_library: Path, tmp_path: Path) -> None:
    """Blocks of one output and four inputs are seen as such, whatever kernel runs them."""
    case = doors.make_case("QLinear_u8_sparse", 64, 64, block=(1, 4), density=0.2)
    product = only(only(profile_single(fastep_library, tmp_path, case)["subgraphs"])["steps"])["product"]
    density = product["kind_density"]
    assert density["1x4"] == pytest.approx(product["density"], rel=0.05)
    assert density["4x4"] > 1.8 * density["1x4"]
    assert density["dense"] == 1


def test_concurrent_runs_are_all_counted(fastep_library: Path, tmp_path: Path) -> None:
    graph, outputs = encoder(FEATURES, layers=1)
    path = tmp_path / "p.json"
    session = doors.open_session(fastep_library, graph.model(outputs), options={"profile": str(path)})
    feeds = [encoder_feeds(batch, length) for batch, length in ((1, 3), (2, 9), (1, 3), (5, 4))]

    def work(shared: Any, values: dict[str, Any]) -> None:
        for _ in range(25):
            shared.run(None, values)

    threads = [threading.Thread(target=work, args=(session, values)) for values in feeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    del session, threads, thread
    gc.collect()
    shapes = only(read(path)["subgraphs"])["shapes"]
    assert {tuple(t["shape"]): t["runs"] for t in shapes} == {(1, 3): 50, (2, 9): 25, (5, 4): 25}


def test_a_run_that_fails_is_not_counted(fastep_library: Path, tmp_path: Path) -> None:
    graph, outputs = encoder(FEATURES, layers=1)
    path = tmp_path / "p.json"
    session = doors.open_session(fastep_library, graph.model(outputs), options={"profile": str(path)})
    feeds = encoder_feeds(2, 5)
    with pytest.raises(Exception, match="found 50"):
        session.run(None, {**feeds, "input_ids": np.full((2, 5), 50)})
    session.run(None, feeds)
    assert only(only(read(path)["subgraphs"])["shapes"])["runs"] == 1


def test_sessions_that_share_a_plan_have_files_of_their_own(fastep_library: Path, tmp_path: Path) -> None:
    graph, outputs = encoder(FEATURES, layers=1)
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    sessions = [doors.open_session(fastep_library, graph.model(outputs), options={"profile": str(p)}) for p in paths]
    assert all(only(read(path)["subgraphs"])["shapes"] == [] for path in paths if read(path)["subgraphs"])
    for session, runs in zip(sessions, (1, 2), strict=True):
        for _ in range(runs):
            session.run(None, encoder_feeds(2, 5))
    assert [only(only(read(path)["subgraphs"])["shapes"])["runs"] for path in paths] == [1, 2]
    assert sorted(tmp_path.iterdir()) == paths, "no part of a file is left"


def test_a_path_that_cannot_be_written(fastep_library: Path, tmp_path: Path) -> None:
    case = doors.make_case("QLinear_u8", 16, 16)
    for path in (tmp_path / "missing" / "p.json", tmp_path):
        with pytest.raises(Exception, match="the profile could not be written to") as info:
            doors.open_session(fastep_library, doors.chain_model([case]), options={"profile": str(path)})
        assert "set the option profile to a file" in str(info.value)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_can_no_longer_be_written(
    fastep_library: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results are worth more than how long they took."""
    monkeypatch.setenv("FASTEP_LOG", "error")
    case = doors.make_case("QLinear_u8", 16, 16)
    folder = tmp_path / "gone"
    folder.mkdir()
    options = {"profile": str(folder / "p.json")}
    session = doors.open_session(fastep_library, doors.chain_model([case]), options=options)
    shutil.rmtree(folder)
    capfd.readouterr()
    for runs in range(1, 6):
        assert np.array_equal(doors.run(session, case.x(1, 3)), case.expected(case.x(1, 3)))
        told = capfd.readouterr().err.count("[fastep] error: the profile could not be written to")
        assert told == (runs in (1, 2, 4)), "whenever the file is due"
    folder.mkdir()
    del session
    gc.collect()
    assert only(only(read(folder / "p.json")["subgraphs"])["shapes"])["runs"] == 5


def test_sessions_that_write_one_file_write_it_whole(
    fastep_library: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes last is read; what the others are writing meanwhile is not in its way."""
    monkeypatch.setenv("FASTEP_LOG", "error")
    graph = EncoderGraph()
    x = graph.add_input("x", np.float32, "B", "S", 16)
    outputs = [y for _ in range(150) for y in graph.skip_norm(x, x, 16, "f32")]  # a subgraph each: a long file
    path, feeds = tmp_path / "p.json", {"x": np.ones((1, 1, 16), np.float32)}
    sessions = [
        doors.open_session(fastep_library, graph.model(outputs), options={"profile": str(path)}) for _ in range(4)
    ]
    failed: list[Exception] = []

    def work(session: Any) -> None:
        try:
            for _ in range(7):  # 1050 Runs of subgraphs: the file is due 11 times
                session.run(None, feeds)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert "error" not in capfd.readouterr().err
    assert len(read(path)["subgraphs"]) == len(outputs)
    assert list(tmp_path.iterdir()) == [path]


def test_names_are_escaped(fastep_library: Path, tmp_path: Path) -> None:
    case = doors.make_case("QLinear_u8", 16, 16)
    model = doors.chain_model([case])
    name = 'a "quoted"\\name\n\u00e4'
    model.graph.node[0].name = name
    path = tmp_path / "p.json"
    session = doors.open_session(fastep_library, model, options={"profile": str(path)})
    doors.run(session, case.x(1, 2))
    assert only(only(read(path)["subgraphs"])["steps"])["nodes"] == [name]
