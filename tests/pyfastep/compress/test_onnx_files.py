"""Names of weights in exported files, and metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from .encoders import tiny_bert

torch = pytest.importorskip("torch")
pytest.importorskip("optimum.exporters.onnx")

from pyfastep._model_paths import files_of  # noqa: E402
from pyfastep.compress.export import export_onnx  # noqa: E402
from pyfastep.compress.onnx_files import (  # noqa: E402
    StoredWeight,
    move_model,
    read_metadata,
    stored_weights,
    write_metadata,
)
from pyfastep.compress.selection import select_linears  # noqa: E402
from pyfastep.errors import FastEPError  # noqa: E402


def test_every_linear_is_found_in_the_file(tmp_path: Path) -> None:
    model = tiny_bert()
    path = export_onnx(model, tmp_path, task="feature-extraction")
    linears = select_linears(model)
    weights = stored_weights(model, [*linears, "pooler.dense"], path)  # the export leaves the pooler out
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    assert list(weights) == list(linears)
    assert len({weight.tensor for weight in weights.values()}) == len(linears) == 12
    for name, weight in weights.items():
        assert weight.transposed
        assert (linears[name].weight.detach().numpy() == tensors[weight.tensor].T).all()

    write_metadata(path, {"recipe": {"name": "x"}, "seed": 1})
    write_metadata(path, {"seed": 2})
    assert read_metadata(path) == {"recipe": {"name": "x"}, "seed": 2}


def test_a_file_is_not_read_for_nothing(tmp_path: Path) -> None:
    """Nor are its weights hashed: a model that is not pruned asks for none."""
    assert stored_weights(tiny_bert(), [], tmp_path / "missing.onnx") == {}


@pytest.mark.parametrize("one_file", [True, False])
def test_external_data_moves_along(tmp_path: Path, one_file: bool) -> None:
    """However the exporter laid it out; a second model of the same old name finds room beside the first."""
    for number in (0, 1):
        torch.manual_seed(number)
        written = export_onnx(tiny_bert(), tmp_path / "export", task="feature-extraction")
        whole = onnx.load(str(written))
        onnx.save(
            onnx.load(str(written)), str(written), save_as_external_data=True, all_tensors_to_one_file=one_file,
            location="model.onnx_data" if one_file else None,
        )  # fmt: skip
        assert files_of(written) != {written}
        target = tmp_path / f"{number}.onnx"
        (tmp_path / f"{number}.onnx.data").write_bytes(b"of a run that was interrupted")
        size = sum(path.stat().st_size for path in files_of(written) - {written})
        move_model(written, target)
        assert (tmp_path / f"{number}.onnx.data").stat().st_size <= size
        assert files_of(target) == {target, tmp_path / f"{number}.onnx.data"}
        assert len({path.stat().st_mode for path in files_of(target)}) == 1  # whoever reads one reads the other
        assert [path.name for path in (tmp_path / "export").iterdir()] == ["config.json"]
        moved, tensors = onnx.load(str(target)), onnx.numpy_helper.to_array
        assert len(moved.graph.initializer) == len(whole.graph.initializer) > 10
        for one, other in zip(moved.graph.initializer, whole.graph.initializer, strict=True):
            np.testing.assert_array_equal(tensors(one), tensors(other))


def test_metadata_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), str(path))
    targets = {"*.q": 0.9, "*.[qk]": 0.5, "*": 0.8}
    write_metadata(path, {"recipe": {"prune": {"targets": targets}}})
    assert list(read_metadata(path)["recipe"]["prune"]["targets"]) == list(targets)


def test_metadata_of_others_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    onnx.helper.set_model_props(model, {"seed": "theirs", "author": "somebody"})
    onnx.save(model, str(path))
    for seed in (1, 2):
        write_metadata(path, {"seed": seed})
    entries = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert entries == {"seed": "theirs", "author": "somebody", "fastep.compress.seed": "2"}
    assert read_metadata(path) == {"seed": 2}


def test_orientation_and_doubles(tmp_path: Path) -> None:
    """A Gemm with ``transB`` keeps a square weight as it is; one weight in two places cannot be told apart."""
    own = np.arange(9, dtype=np.float32).reshape(3, 3)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(own))

    def find(**stored: Any) -> dict[str, StoredWeight]:
        nodes = [onnx.helper.make_node("MatMul", ["x", name], [f"y_{name}"]) for name in stored]
        initializers = [onnx.numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in stored.items()]
        graph = onnx.helper.make_graph(nodes, "g", [], [], initializers)
        onnx.save(onnx.helper.make_model(graph), str(tmp_path / "m.onnx"))
        return stored_weights(model, ["0"], tmp_path / "m.onnx")

    assert find(w=own) == {"0": StoredWeight("w", False)}
    assert find(w=own.T, v=own + 1) == {"0": StoredWeight("w", True)}
    with pytest.raises(FastEPError, match=r"0: expected its weight once .* found it 2 times"):
        find(w=own, v=own.T)
