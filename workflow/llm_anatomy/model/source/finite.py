"""Weights that are numbers: a damaged conversion is found before anything is computed with it."""

from pathlib import Path

import torch
from safetensors import safe_open

from llm_anatomy.errors import UserError


def check_finite(weights: Path, name: str, dtype: torch.dtype = torch.float32) -> None:
    """Check that every floating-point tensor of a folder of safetensors files is finite in a type.

    Args:
        weights: The folder.
        name: The model's configured name, for the message.
        dtype: The type that the model runs in.

    Raises:
        UserError: A tensor holds NaN or infinity, or a number that is infinite in this type.
    """
    largest = torch.finfo(dtype).max
    for file in sorted(weights.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for tensor_name in stored.keys():  # noqa: SIM118 - the file is no mapping
                tensor = stored.get_tensor(tensor_name)
                if not tensor.is_floating_point() or tensor.numel() == 0:
                    continue
                # Eight-bit floats have no order of their own.
                values = tensor.float() if tensor.element_size() == 1 else tensor
                extremes = torch.stack([*torch.aminmax(values)]).double().abs()
                if not extremes.isfinite().all():
                    raise UserError(
                        f"the model '{name}': the tensor '{tensor_name}' of {file.name} holds NaN "
                        "or infinity, so nothing that is computed with it could be trusted; "
                        "download or convert the model again"
                    )
                if extremes.max() > largest:
                    raise UserError(
                        f"the model '{name}': the tensor '{tensor_name}' of {file.name} holds "
                        f"{float(extremes.max()):.3g}, which is infinite in "
                        f"{str(dtype).removeprefix('torch.')} (at most {largest:.3g}); set "
                        "precision.dtype: bfloat16 or float32"
                    )
