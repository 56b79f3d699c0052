"""A stand-in for a CUDA card: tensors that say `cuda:0`, compute on the CPU, and refuse foreigners.

As on a card, an operation on tensors of two devices is an error, except for numbers without
dimensions, indices from the CPU and copies; `numpy()` and `torch.cuda` need a copy on the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CARD = torch.device("cuda:0")
# Their device option says where the result lies, whatever the inputs' device.
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
# The card's own tensor first, then indices of either device.
INDEXING = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
}


# Products with vectors change the shape of a result in place, which a wrapper does not notice.
PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__}


class CardTensor(Tensor):
    """A tensor that lies on the card."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> "CardTensor":
        outer = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.size(), strides=inner.stride(), dtype=inner.dtype, device=CARD
        )
        outer.inner = inner
        return outer

    def __deepcopy__(self, memo: Any) -> "CardTensor":
        copy = CardTensor(self.inner.clone())
        if isinstance(self, nn.Parameter):
            copy._is_param = True
        return copy

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Card(TorchDispatchMode):
    """Sees what is made on the card from nothing, too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Lists(TorchFunctionMode):
    """Tensors from lists and back, which torch makes without telling a dispatch mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") is not None:
            there = torch.device(kwargs.pop("device")).type == "cuda"
            made = func(*args, **kwargs)
            return CardTensor(made) if there else made
        if func is Tensor.new_tensor and isinstance(args[0], CardTensor):
            return CardTensor(torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)))
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            return _indexed(func, *args)
        if func in PRODUCTS and any(isinstance(one, CardTensor) for one in args):
            return _run(func, args, kwargs)
        if func in (Tensor.tolist, Tensor.numpy) and isinstance(args[0], CardTensor):
            if func is Tensor.numpy:
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
            return args[0].inner.tolist()
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if "not linked with support for cuda" not in str(error):
                raise
        # A few methods ask for the card's driver before they dispatch (`contiguous`, `~`).
        return _run(func, args, kwargs)


@contextmanager
def card() -> Iterator[None]:
    """A machine with one card."""
    with (
        # Modules that move get new parameters: a tensor of one device cannot become another's.
        mock.patch.object(
            torch.__future__, "get_overwrite_module_params_on_conversion", return_value=True
        ),
        # Inference mode would hand composite operations over whole, and forbid views of wrappers.
        mock.patch.object(torch, "inference_mode", torch.no_grad),
        mock.patch.object(torch.cuda, "_lazy_init"),
        mock.patch.object(torch.cuda, "is_available", return_value=True),
        mock.patch.object(torch.cuda, "device_count", return_value=1),
        _Card(),
        _Lists(),
    ):
        yield


def on_card(model: Any) -> Any:
    """Move a model's weights and buffers to the card; shared ones stay shared."""
    moved: dict[int, CardTensor] = {}
    for module in model.modules():
        for tensors, parameters in ((module._parameters, True), (module._buffers, False)):
            for name, tensor in tensors.items():
                if tensor is None or isinstance(tensor, CardTensor):
                    continue
                if id(tensor) not in moved:
                    moved[id(tensor)] = CardTensor(tensor.detach())
                    moved[id(tensor)]._is_param = parameters
                tensors[name] = moved[id(tensor)]
    return model


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is torch.ops.aten._pin_memory.default:
        # Pinned memory is the processor's; there is no driver here to pin any.
        return args[0].clone()
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    mine = [tensor for tensor in tensors if isinstance(tensor, CardTensor)]
    here = bool(mine)
    if func in INDEXING:
        here = isinstance(args[0], CardTensor)
        foreign = [i for i in args[1] if isinstance(i, CardTensor) and not here]
        if len(args) > 2 and args[2].ndim and isinstance(args[2], CardTensor) != here:
            foreign.append(args[2])
    elif func in COPIES:
        here, foreign = isinstance(args[0], CardTensor), []
    else:
        foreign = [t for t in tensors if mine and t.ndim and not isinstance(t, CardTensor)]
    if foreign:
        raise RuntimeError(f"{func}: expected all tensors on one device, found cuda:0 and cpu")
    if kwargs.get("device") is not None:
        here = torch.device(kwargs["device"]).type == "cuda"
        kwargs = kwargs | {"device": torch.device("cpu")}
    wrappers = {id(tensor.inner): tensor for tensor in mine}
    inner = tree_map(_inner, (args, kwargs))
    result = func(*inner[0], **inner[1])
    if not here:
        return result
    # What works in place gives back its own argument.
    return tree_map(
        lambda leaf: wrappers.get(id(leaf), CardTensor(leaf)) if isinstance(leaf, Tensor) else leaf,
        result,
    )


def _indexed(func: Any, tensor: Tensor, places: Any, *value: Any) -> Any:
    here = isinstance(tensor, CardTensor)
    foreign = [i for i in tree_leaves(places) if isinstance(i, CardTensor) and not here]
    foreign += [
        v for v in value if isinstance(v, Tensor) and v.ndim and isinstance(v, CardTensor) != here
    ]
    if foreign:
        raise RuntimeError(f"{func}: expected all tensors on one device, found cuda:0 and cpu")
    result = func(*tree_map(_inner, (tensor, places, *value)))
    return CardTensor(result) if here and isinstance(result, Tensor) else result


def _inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, CardTensor) else leaf
