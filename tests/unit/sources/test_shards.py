"""Headers of safetensors files, read without the library that writes them."""

import pytest
import torch
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.shards import read_header, tensor_files, tensor_shapes
from safetensors.torch import save_file

TENSORS = {"up": torch.zeros(3, 5), "bias": torch.zeros(7)}


def test_a_header_says_every_tensor_and_the_length_of_the_file(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file(TENSORS, file, metadata={"format": "pt"})
    header = read_header(file)
    assert {name: entry["shape"] for name, entry in header.tensors.items()} == {
        "up": [3, 5],
        "bias": [7],
    }
    assert header.n_bytes == file.stat().st_size
    assert tensor_files(tmp_path) == dict.fromkeys(header.tensors, "model.safetensors")
    assert tensor_shapes(tmp_path) == {"up": [3, 5], "bias": [7]}


@pytest.mark.parametrize(
    "content",
    [b"", b"abc", b"\xff" * 64, b"\x02" + bytes(7) + b"[]", b"\x0a" + bytes(7) + b'{"a": [1]}'],
)
def test_what_is_no_header_is_named(tmp_path, content):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"model.safetensors is not a readable safetensors file"):
        read_header(file)
    with pytest.raises(UserError, match=r"model.safetensors is not a readable safetensors file"):
        tensor_files(tmp_path)
