"""Plans that are damaged, forged, or of somebody else: an error that says so, never a crash."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from . import compiled
from .child import run_forged
from .encoder_graph import encoder, encoder_feeds

FEATURES = 32
FORGERIES = 400
EDGES = (0, 1, 7, 2**31, 2**40, 2**63, 2**64 - 1)


@pytest.fixture(scope="module", params=[(4, 4), (4, 1)], ids=["4x4", "4x1"])
def model(request: pytest.FixtureRequest, fastep_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled")
    graph, outputs = encoder(FEATURES, layers=1, block=request.param)
    compiled.compile_model(fastep_library, compiled.save(graph.model(outputs), folder), folder / "ctx.onnx")
    return folder / "ctx.onnx"


@pytest.fixture
def plans(model: Path, tmp_path: Path) -> tuple[Path, bytes]:
    """A copy of the model whose plans may be changed, and what they are."""
    copy = tmp_path / model.name
    copy.write_bytes(model.read_bytes())
    data = compiled.plans_of(model).read_bytes()
    compiled.plans_of(copy).write_bytes(data)
    return copy, data


def refused(library: Path, path: Path, match: str) -> None:
    with pytest.raises(Exception, match=match):
        compiled.open_file(library, path)


def test_the_checksum_is_understood(plans: tuple[Path, bytes]) -> None:
    """Otherwise no forgery here would get past it."""
    _, data = plans
    assert compiled.with_checksum(data) == data


@pytest.mark.parametrize(
    ("at", "value", "match"),
    [
        (8, struct.pack("<I", 99), "compiled plan of format 1, found format 99"),
        (56, b"9.9.9".ljust(32, b"\0"), r"compiled by FastEP .*, found one of version 9\.9\.9"),
        (88, b"packing 77".ljust(32, b"\0"), "weights packed as 'packing .*', found 'packing 77'"),
        (120, b"amx".ljust(16, b"\0"), "found one for tier amx"),
        (120, b"quantum".ljust(16, b"\0"), "found one for tier quantum"),
        (0, b"notaplan", "expected a compiled plan, found other bytes"),
    ],
)
def test_plans_of_others(fastep_library: Path, plans: tuple[Path, bytes], at: int, value: bytes, match: str) -> None:
    """Found, expected, where, and what to do, whether or not the checksum fits."""
    path, data = plans
    forged = compiled.with_checksum(data[:at] + value + data[at + len(value) :])
    compiled.plans_of(path).write_bytes(forged)
    refused(fastep_library, path, rf"ctx\.onnx', plans 'ctx_fastep\.bin'.*{match}.*fastep compile")


@pytest.mark.parametrize("left", [0, 1, 100, 192, 500, 4096, -4096, -1])
def test_truncated_files(fastep_library: Path, plans: tuple[Path, bytes], left: int) -> None:
    path, data = plans
    compiled.plans_of(path).write_bytes(data[:left])
    refused(fastep_library, path, "an empty file" if left == 0 else "truncated|compiled plan, found")


def test_missing_files_and_folders(fastep_library: Path, plans: tuple[Path, bytes]) -> None:
    path, _ = plans
    compiled.plans_of(path).unlink()
    refused(fastep_library, path, r"ctx_fastep\.bin': expected a readable file, found: No such file")
    compiled.plans_of(path).mkdir()
    refused(fastep_library, path, "not a regular file")


@pytest.mark.parametrize("location", ["../ctx_fastep.bin", "/etc/hostname", "", ".", "a/../../b"])
def test_locations_outside(fastep_library: Path, plans: tuple[Path, bytes], location: str) -> None:
    path, _ = plans
    edit(path, "ep_cache_context", location.encode())
    refused(fastep_library, path, "file of plans beside the model")


def test_a_partition_that_is_not_there(fastep_library: Path, plans: tuple[Path, bytes]) -> None:
    path, _ = plans
    edit(path, "partition_name", b"another")
    refused(fastep_library, path, "plan of 'another', found only plans of other subgraphs")


@pytest.mark.parametrize("attribute", ["ep_cache_context", "partition_name"])
def test_missing_attributes(fastep_library: Path, plans: tuple[Path, bytes], attribute: str) -> None:
    path, _ = plans
    edit(path, attribute, None)
    refused(fastep_library, path, f"expected the attribute '{attribute}'")


def test_every_changed_byte_is_found(fastep_library: Path, plans: tuple[Path, bytes]) -> None:
    path, data = plans
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 60).tolist():
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(0, 8))
        compiled.plans_of(path).write_bytes(changed)
        refused(fastep_library, path, "fastep compile")


def forge(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes of a plan changed as no writer would, most of them among its fields; the checksum fits."""
    forged = bytearray(data)
    (fields,) = struct.unpack_from("<Q", data, 24)
    ends = {0: fields, 1: fields, 2: len(data) - compiled.HEADER}
    for _ in range(int(rng.integers(1, 4))):
        at = compiled.HEADER + int(rng.integers(0, ends[int(rng.integers(0, 3))]))
        kind = rng.integers(0, 4)
        if kind == 0:
            forged[at] = int(rng.integers(0, 256))
        elif kind == 1:
            struct.pack_into("<Q", forged, min(at, len(forged) - 8), EDGES[int(rng.integers(0, len(EDGES)))])
        elif kind == 2:
            size = int(rng.integers(1, 64))
            forged[at : at + size] = forged[compiled.HEADER : compiled.HEADER + size]
        else:
            forged[at] ^= 1 << int(rng.integers(0, 8))
    if rng.integers(0, 10) == 0:
        struct.pack_into("<Q", forged, int(rng.choice([16, 24, 32])), int(rng.integers(0, 2 * len(data))))
    return compiled.with_checksum(forged[: len(data)])


def test_forged_plans_do_no_harm(fastep_library: Path, plans: tuple[Path, bytes]) -> None:
    """They are refused, or run: what is read is checked, whatever the checksum says."""
    path, data = plans
    rng = np.random.default_rng(1)
    forged = [forge(data, rng) for _ in range(FORGERIES)]
    outcomes = Counter(run_forged(fastep_library, path.parent, path, forged, encoder_feeds(2, 7)))
    assert outcomes.total() == FORGERIES
    assert set(outcomes) <= {"refused", "failed", "ran"}, outcomes
    assert outcomes["refused"]
    assert outcomes["ran"]


def group_pointers(data: bytes) -> list[int]:
    """Where what looks like the first blocks of the row groups of a layer stands; its last element is there twice."""
    groups = FEATURES // 4
    words = np.frombuffer(data[: len(data) // 4 * 4], "<u4").astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(words, groups + 2)
    steps = np.diff(windows, axis=1)
    found = (windows[:, 0] == 0) & (steps[:, :-1] > 0).all(axis=1) & (steps[:, -1] == 0) & (steps <= groups).all(axis=1)
    return [4 * int(at) for at in np.flatnonzero(found)]


@pytest.mark.parametrize("model", [(4, 1)], indirect=True, ids=["4x1"])
def test_a_layer_that_ends_before_its_blocks(fastep_library: Path, plans: tuple[Path, bytes]) -> None:
    """4x1 kernels read the block behind the last one, which nobody would have checked."""
    path, data = plans
    assert group_pointers(data), "no layer to forge"
    for at in group_pointers(data):
        first = np.frombuffer(data, "<u4", FEATURES // 4 + 2, at).copy()
        first[:-1] = np.minimum(first[:-1], first[-1] - 2)
        forged = data[:at] + first.tobytes() + data[at + first.nbytes :]
        compiled.plans_of(path).write_bytes(compiled.with_checksum(forged))
        refused(fastep_library, path, "do not have the form that they claim")


def edit(path: Path, attribute: str, value: bytes | None) -> None:
    """Sets a text attribute of the compiled node, or takes the attribute away."""
    model = onnx.load(path)
    node = model.graph.node[0]
    found = next(i for i, a in enumerate(node.attribute) if a.name == attribute)
    if value is None:
        del node.attribute[found]
    else:
        node.attribute[found].s = value
    onnx.save(model, path)
