"""Stages in the order of computation, and the outputs that each Linear should give."""

from __future__ import annotations

from copy import deepcopy

import pytest

from .encoders import batches, tiny_bert, tiny_distilbert, tiny_modernbert

pytest.importorskip("torch")

import torch

from pyfastep.compress.calibration import Calibrator, Stage, find_stages, real_rows, recorded_calls, run_model
from pyfastep.compress.selection import select_linears

DATA = batches(count=3)
LAYER = "encoder.layer.1"


def test_stages_of_bert() -> None:
    model = tiny_bert()
    stages = find_stages(model, list(select_linears(model)), DATA[0])
    assert len(stages) == 2 * 4
    attention = f"{LAYER}.attention"
    assert stages[4:] == [
        Stage(LAYER, tuple(f"{attention}.self.{name}" for name in ("query", "key", "value")), None),
        Stage(LAYER, (f"{attention}.output.dense",), f"{attention}.output.LayerNorm"),
        Stage(LAYER, (f"{LAYER}.intermediate.dense",), None),
        Stage(LAYER, (f"{LAYER}.output.dense",), f"{LAYER}.output.LayerNorm"),
    ]


def test_stages_of_distilbert() -> None:
    model = tiny_distilbert()
    stages = find_stages(model, list(select_linears(model)), DATA[0])
    assert [stage.layer[-1] for stage in stages] == ["0"] * 4 + ["1"] * 4
    assert [len(stage.linears) for stage in stages] == [3, 1, 1, 1] * 2
    assert [bool(stage.norm) for stage in stages] == [False, True, False, True] * 2
    assert str(stages[1].norm).endswith("sa_layer_norm")


def test_stages_of_an_encoder_that_normalizes_before() -> None:
    """What follows a layer's last Linear is the next layer's normalization, which a run of this one does not reach."""
    model = tiny_modernbert()
    stages = find_stages(model, list(select_linears(model)), DATA[0])
    norms = {stage.linears[0]: stage.norm for stage in stages}
    assert norms == {
        "layers.0.attn.Wqkv": None,
        "layers.0.attn.Wo": "layers.0.mlp_norm",
        "layers.0.mlp.Wi": None,
        "layers.0.mlp.Wo": None,
        "layers.1.attn.Wqkv": None,
        "layers.1.attn.Wo": "layers.1.mlp_norm",
        "layers.1.mlp.Wi": None,
        "layers.1.mlp.Wo": None,
    }


def test_models_run_without_dropout_or_gradients_and_stay_as_they_were() -> None:
    model = tiny_bert().train()
    with recorded_calls(model, [f"{LAYER}.output.dense"]) as calls:
        run_model(model, [DATA[0], DATA[0]])
    assert torch.equal(calls[0].outputs, calls[1].outputs)
    assert not calls[0].outputs.requires_grad
    assert model.training


def test_rows_of_real_tokens() -> None:
    values, real = torch.arange(12.0).reshape(2, 3, 2), torch.tensor([[True, True, False], [True, False, False]])
    assert real_rows(values, real).tolist() == [[0, 1], [2, 3], [6, 7]]
    assert real_rows(values[:, 0], real).tolist() == [[0, 1], [6, 7]]  # a pooler's, one per sequence


def real_tokens(values: list[torch.Tensor]) -> torch.Tensor:
    """Rows [tokens, features] of real tokens, all batches."""
    masks = [batch["attention_mask"].bool() for batch in DATA]
    return torch.cat([value[mask] for value, mask in zip(values, masks, strict=True)]).double()


def seen(model: torch.nn.Module, name: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Inputs and outputs of a module, per batch."""
    inputs, outputs = [], []

    def hook(module: torch.nn.Module, given: tuple[torch.Tensor, ...], result: torch.Tensor) -> None:
        inputs.append(given[0])
        outputs.append(result)

    handle = model.get_submodule(name).register_forward_hook(hook)
    with torch.no_grad():
        for batch in DATA:
            model(**batch)
    handle.remove()
    return inputs, outputs


@pytest.mark.parametrize("residual", [False, True])
def test_moments_are_those_of_inputs_and_wanted_outputs(residual: bool) -> None:
    """With a residual stream the wanted output also makes up for what the stream has lost."""
    dense = tiny_bert()
    model = deepcopy(dense)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight.mul_(0.5)
    name, norm = f"{LAYER}.output.dense", f"{LAYER}.output.LayerNorm" if residual else None
    moments = Calibrator(model, dense, DATA).moments(Stage(LAYER, (name,), norm))[name]

    own, before = seen(model, name)
    wanted = real_tokens(seen(dense, name)[1])
    if residual:
        stream = real_tokens(seen(model, str(norm))[0]) - real_tokens(before)
        wanted = real_tokens(seen(dense, str(norm))[0]) - stream
    inputs = torch.nn.functional.pad(real_tokens(own), (0, 1), value=1.0)
    # Sums of 216 float32 products, each batch of which is rounded: far below 1e-4 of their size.
    torch.testing.assert_close(moments.gram, inputs.T @ inputs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moments.cross, wanted.T @ inputs, rtol=1e-4, atol=1e-4)
