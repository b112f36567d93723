"""EmbedLayerNormalization becomes embeddings, a sum and a LayerNormalization, whatever it also gives out."""

from __future__ import annotations

import numpy as np
import pytest

from pyfastep.passes.match.embedding import embedding_terms, match_embeddings

from .models import Array, Builder
from .unpacking import builder, check_equal, random, unpack

WORDS, POSITIONS, TYPES, FEATURES = 20, 9, 2, 8
TABLES = {"word": WORDS, "position": POSITIONS, "segment": TYPES}


def feeds_of(names: set[str]) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    values = {
        "ids": rng.integers(0, WORDS, (2, 5)),
        "segments": rng.integers(0, TYPES, (2, 5)),
        "mask": np.arange(5) < np.array([[5], [3]]),
        "position_ids": rng.integers(0, POSITIONS, (2, 5)),
    }
    return {name: value.astype(np.int32) for name, value in values.items() if name in names}


def embed_model(*given: str, outputs: int = 1) -> Builder:
    """`given` of segments, mask and position_ids; outputs: y, mask_index, embedding_sum."""
    names = ["ids", *given]
    b = builder({name: ["batch", "length"] for name in names}, kinds=dict.fromkeys(names, "i32"))
    tables = {name: b.constant(name, random(rows, FEATURES)) for name, rows in TABLES.items()}
    parameters = [b.constant(name, random(FEATURES)) for name in ("gamma", "beta")]
    optional = {name: name if name in given else "" for name in ("segments", "mask", "position_ids")}
    segment = tables["segment"] if "segments" in given else ""
    inputs = ["ids", optional["segments"], tables["word"], tables["position"], segment, *parameters]
    inputs += [optional["mask"], optional["position_ids"]]
    b.node("EmbedLayerNormalization", inputs, "y", domain="com.microsoft", epsilon=1e-6)
    b.nodes[-1].output[:] = ["y", "lengths", "sum"][: max(outputs, 2)]
    b.output("y", ["batch", "length", FEATURES])
    if outputs > 1:
        b.output("lengths", ["batch"], "i32")
    if outputs > 2:
        b.output("sum", ["batch", "length", FEATURES])
    return b


@pytest.mark.parametrize("given", [(), ("segments",), ("segments", "position_ids"), ("mask",), ("segments", "mask")])
def test_unpacked(given: tuple[str, ...]) -> None:
    outputs = 3 if "mask" in given else 1
    model = check_equal(embed_model(*given, outputs=outputs).build(), feeds_of({"ids", *given}))
    assert "LayerNormalization" in [node.op_type for node in model.graph]


def test_the_embeddings_are_matched_through_the_cast_of_the_ids() -> None:
    """ONNX Runtime's optimizer casts the ids to int32."""
    b = embed_model("segments")
    for name in ("ids", "segments"):
        value = next(entry for entry in b.inputs if entry.name == name)
        value.name, value.type.tensor_type.elem_type = f"{name}_64", 7
        b.node("Cast", [f"{name}_64"], name, to=6)
    b.nodes[:] = [*b.nodes[1:], b.nodes[0]]
    model, _ = unpack(b.build())
    norm = next(node for node in model.graph if node.op_type == "LayerNormalization")
    found = match_embeddings(embedding_terms(norm.inputs[0]), FEATURES)  # type: ignore[arg-type]
    assert not isinstance(found, str)
    assert [len(entry.table) for entry in found] == [WORDS, POSITIONS, TYPES]
    assert [entry.ids.name for entry in (found[0], found[2]) if entry.ids is not None] == ["ids_64", "segments_64"]


def test_quantized_tables() -> None:
    b = builder({"ids": ["batch", "length"], "segments": ["batch", "length"]}, kinds={"ids": "i32", "segments": "i32"})
    rng = np.random.default_rng(0)
    arrays = {**{name: (rows, FEATURES) for name, rows in TABLES.items()}, "gamma": (FEATURES,), "beta": (FEATURES,)}
    data = [b.constant(name, rng.integers(0, 256, shape), np.uint8) for name, shape in arrays.items()]
    scales = [b.constant(f"{name}_scale", 0.01 + 0.001 * i) for i, name in enumerate(arrays)]
    zeros = [b.constant(f"{name}_zero", 100 + i, np.uint8) for i, name in enumerate(arrays)]
    b.node("QEmbedLayerNormalization", ["ids", "segments", *data, "", *scales, *zeros], "y", domain="com.microsoft")
    b.nodes[-1].output[:] = ["y", "lengths"]
    b.output("y", ["batch", "length", FEATURES])
    model = check_equal(b.build(), feeds_of({"ids", "segments"}))
    assert [node.op_type for node in model.graph].count("DequantizeLinear") == 5


def test_tables_that_are_inputs_are_unpacked_and_are_no_embeddings() -> None:
    b = embed_model()
    table = b.initializers.pop("word")
    b.input("word", [WORDS, FEATURES])
    model = check_equal(b.build(), {**feeds_of({"ids"}), "word": np.asarray(table)})
    norm = next(node for node in model.graph if node.op_type == "LayerNormalization")
    found = match_embeddings(embedding_terms(norm.inputs[0]), FEATURES)  # type: ignore[arg-type]
    assert found == "something else than an embedding is added"
