"""Encoders that differ from BERT: every linear is converted, and of the rest what suits; docs/models.md."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("optimum.exporters.onnx")

import pyfastep  # noqa: E402
from pyfastep.compress import export_onnx  # noqa: E402

from ..stock import exact_session  # noqa: E402

pytestmark = pytest.mark.usefixtures("fastep_library")

LAYERS, VOCABULARY, CALIBRATED, POSITIONS = 2, 97, 16, 80
SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": LAYERS}
SIZES |= {"vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS}
XLM = {"vocab_size": VOCABULARY, "emb_dim": 32, "n_layers": LAYERS, "n_heads": 4, "max_position_embeddings": POSITIONS}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
DEBERTA_V2 = {"position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
DEBERTA_V2 |= {"position_biased_input": False}
# Weights so large that attention tells tokens apart by their positions; all ids are words.
SPECIAL_IDS = ("pad", "bos", "eos", "cls", "sep")
MODERN = {"initializer_range": 0.3, "global_attn_every_n_layers": 2, "local_attention": 16, "reference_compile": False}
MODERN |= {f"{name}_token_id": place for place, name in enumerate(SPECIAL_IDS)}

# Of float, and of stock ONNX Runtime's error on the quantized model; found: 0.003 to 0.09, and 0.3 to 1.02.
MAX_ERROR, MAX_RATIO = 0.12, 1.05


@dataclass(frozen=True)
class Other:
    """An architecture.

    Attributes:
        kind: of transformers, as in `<kind>Config`.
        attention: whether it becomes QAttention nodes.
        norms: whether every LayerNormalization becomes part of a node.
        why: what stays ONNX Runtime's, and why.
    """

    kind: str
    attention: bool
    norms: bool
    why: str
    options: dict[str, Any] = field(default_factory=lambda: dict(SIZES))


ROTARY, RELATIVE_WHY = "attention: rotary positions", "attention: relative positions"
PRE_NORM = "norms in front of layers"
OTHERS = {
    "ModernBERT": Other("ModernBert", False, False, f"{ROTARY}; {PRE_NORM}", SIZES | MODERN),
    "DeBERTa": Other("Deberta", False, True, RELATIVE_WHY, SIZES | RELATIVE),
    "DeBERTa v2, v3": Other(
        "DebertaV2", False, False, f"{RELATIVE_WHY}, and the norm of their table", SIZES | RELATIVE | DEBERTA_V2
    ),
    "RoFormer": Other("RoFormer", False, True, ROTARY),
    "ConvBERT": Other("ConvBert", False, True, "attention: mixed with convolutions"),
    "FlauBERT": Other("Flaubert", False, False, f"attention: its own masking; {PRE_NORM}", XLM | {"pre_norm": True}),
    "MobileBERT": Other("MobileBert", True, True, "scales and offsets", SIZES | {"intra_bottleneck_size": 16}),
    "ALBERT": Other("Albert", True, True, ""),
    "CamemBERT": Other("Camembert", True, True, ""),
    "RemBERT": Other("RemBert", True, True, ""),
}


def feeds_of(session: ort.InferenceSession, length: int, seed: int) -> dict[str, NDArray[Any]]:
    """Two sequences, the second padded to a third on the right."""
    rng = np.random.default_rng(seed)
    real = np.arange(length) < np.array([[length], [length - length // 3]])
    values = {"input_ids": rng.integers(5, VOCABULARY, real.shape), "attention_mask": real.astype(np.int64)}
    values["token_type_ids"] = np.zeros(real.shape, np.int64)
    return {entry.name: values[entry.name] for entry in session.get_inputs()}


@pytest.fixture(scope="module", params=OTHERS)
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Other, Path]:
    """An architecture, and the folder with its model in float, quantized on short sequences, and converted."""
    made, folder = OTHERS[request.param], tmp_path_factory.mktemp("other")
    torch.manual_seed(0)
    model = getattr(transformers, f"{made.kind}Model")(getattr(transformers, f"{made.kind}Config")(**made.options))
    path = export_onnx(model, folder, task="feature-extraction")
    session = ort.InferenceSession(str(path))
    calibration = [feeds_of(session, length, length) for length in (CALIBRATED, 9, 12, CALIBRATED)]
    pyfastep.quantize(path, folder / "int8.onnx", data=calibration)
    pyfastep.convert(folder / "int8.onnx", folder / "fast.onnx")
    return made, folder


def test_what_becomes_of_it(other: tuple[Other, Path]) -> None:
    made, folder = other
    source, target = (onnx.load(str(folder / name)).graph for name in ("int8.onnx", "fast.onnx"))
    stored = {tensor.name for tensor in source.initializer}
    weights = {n.output[0] for n in source.node if n.op_type == "DequantizeLinear" and n.input[0] in stored}
    linears = sum(node.op_type in ("MatMul", "Gemm") and node.input[1] in weights for node in source.node)
    assert linears >= 4 * LAYERS
    nodes = Counter(node.op_type.split("_")[0] for node in target.node)
    assert nodes["QLinear"] == linears
    assert nodes["QAttention"] == (LAYERS if made.attention else 0)
    assert (nodes["LayerNormalization"] == 0) == made.norms
    assert made.why or nodes["MatMul"] == 0


def test_it_computes_the_same(other: tuple[Other, Path]) -> None:
    """On sequences several times as long as those of the calibration, too."""
    _, folder = other
    float_model = ort.InferenceSession(str(folder / "model.onnx"))
    sessions = exact_session(folder / "int8.onnx"), pyfastep.InferenceSession(folder / "fast.onnx")
    for length in (1, 7, CALIBRATED, 4 * CALIBRATED):
        feeds = feeds_of(float_model, length, 100 + length)
        real = feeds["attention_mask"].astype(bool)
        wanted = float_model.run(None, feeds)[0][real]
        stock, fast = (
            float(np.sqrt(np.mean((session.run(None, feeds)[0][real] - wanted) ** 2)) / wanted.std())
            for session in sessions
        )
        assert fast <= MAX_ERROR, length
        assert fast <= stock * MAX_RATIO + 1e-3, length


def table() -> str:
    """The one of docs/models.md."""
    rows = [f"| {name} | {other.why or 'nothing'} |" for name, other in OTHERS.items()]
    return "\n".join(["| TorchScript, optimum | stays ONNX Runtime's |", "|---|---|", *rows])


def test_the_documentation_says_so(repository: Path) -> None:
    text = (repository / "docs" / "models.md").read_text()
    assert table() in text, f"docs/models.md should hold:\n{table()}"
