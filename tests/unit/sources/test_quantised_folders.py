"""Checkpoints with quantised weights are refused by name: folders before any job, hub ids early."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from llm_anatomy.config.models import ModelSource
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.folder import check_source
from safetensors.torch import load_file, save_file

from tests.tiny import save_tiny_model

CONFIGS: list[tuple[dict[str, Any], str]] = [
    (
        {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
        "(quantization_config: fp8, e4m3)",
    ),
    ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq, 4 bits)"),
    ({"quant_method": "gptq", "bits": 8, "desc_act": True}, "gptq, 8 bits)"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, 4 bits)"),
    ({"load_in_8bit": True}, "no quant_method, 8 bits)"),
    ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "float-quantized)"),
    ({"quant_method": "mxfp4"}, "mxfp4)"),
    ({"quant_method": "torchao", "quant_type": "int4wo"}, "torchao, int4wo)"),
    ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4}}}, "hqq)"),
    ({"quant_method": "eetq", "weights": "int8"}, "eetq)"),
    ({"quant_method": "quanto", "weights": "int8"}, "quanto)"),
    ({"quant_method": "aqlm", "nbits_per_codebook": 16}, "aqlm)"),
    ({"quant_method": "bitnet"}, "bitnet)"),
    ({"quant_algo": "NVFP4"}, "no quant_method)"),
    ({"quant_method": "somethingnew"}, "somethingnew)"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "mine")


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_source(ModelSource(name="mine", path=str(folder)))
    message = str(caught.value)
    assert "\n" not in message
    assert "precision.quantisation" in message
    return message


def state(folder: Path, **more: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | more))


@pytest.mark.parametrize(("section", "expected"), CONFIGS)
def test_the_configuration_names_the_method(
    folder: Path, section: dict[str, Any], expected: str
) -> None:
    state(folder, quantization_config=section)
    assert expected in refused(folder)


def test_sections_under_other_names(folder: Path) -> None:
    state(folder, compression_config={"quant_method": "compressed-tensors"})
    assert "(compression_config: compressed-tensors)" in refused(folder)
    state(folder, compression_config=None, text_config={"quantization_config": {"bits": 4}})
    assert "4 bits" in refused(folder)


@pytest.mark.parametrize(
    ("beside", "method"),
    [
        ("qweight", "AWQ or GPTQ"),
        ("weight_scale_inv", "FP8"),
        ("weight_scale", "FP8"),
        ("weight_packed", "compressed-tensors"),
        ("SCB", "bitsandbytes"),
        ("weight.quant_state.bitsandbytes__nf4", "bitsandbytes"),
        ("weight.absmax", "bitsandbytes"),
        ("_weight_qdata", "torchao"),
        ("W_q", "HQQ"),
        ("weight_scales", "EETQ"),
        ("weight._data", "quanto"),
        ("input_scale", "quanto"),
        ("codebooks", "AQLM"),
    ],
)
def test_tensors_tell_where_the_configuration_does_not(
    folder: Path, beside: str, method: str
) -> None:
    file = folder / "model.safetensors"
    name = f"model.layers.0.mlp.up_proj.{beside}"
    save_file(load_file(file) | {name: torch.ones(2)}, file, {"format": "pt"})
    said = refused(folder)
    assert f"hold '{name}', as " in said
    assert method in said


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        (torch.int8, "I8"),
        (torch.uint8, "U8"),
        (torch.float8_e4m3fn, "F8_E4M3"),
        (torch.int32, "I32"),
    ],
)
def test_a_weight_of_a_type_that_no_dense_weight_has(
    folder: Path, stored: torch.dtype, name: str
) -> None:
    # No configuration and no scales beside it say so: an unknown quantiser's folder.
    file = folder / "model.safetensors"
    tensors = load_file(file)
    weight = "model.layers.1.mlp.down_proj.weight"
    tensors[weight] = tensors[weight].to(stored)
    save_file(tensors, file, {"format": "pt"})
    assert f"hold '{weight}' as {name}, a type of quantised weights" in refused(folder)


@pytest.mark.parametrize("stored", [torch.float64, torch.float16, torch.bfloat16])
def test_dense_weights_of_any_type_and_masks_are_taken(folder: Path, stored: torch.dtype) -> None:
    file = folder / "model.safetensors"
    tensors = {name: tensor.to(stored) for name, tensor in load_file(file).items()}
    mask = {"model.layers.0.self_attn.bias": torch.ones(4, 4, dtype=torch.bool)}
    save_file(tensors | mask, file, {"format": "pt"})
    check_source(ModelSource(name="mine", path=str(folder)))


@pytest.mark.parametrize("section", [None, {}])
def test_an_empty_section_says_nothing(folder: Path, section: Any) -> None:
    state(folder, quantization_config=section)
    check_source(ModelSource(name="mine", path=str(folder)))
