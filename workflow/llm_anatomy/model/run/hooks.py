"""Forward hooks, through one context manager that always removes them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

ForwardHook = Callable[[nn.Module, tuple[Any, ...], Any], Any]
PreHook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]


class PassEnded(Exception):  # noqa: N818 - a signal, not an error
    """Raised by a hook that has seen all that is wanted: ends the forward pass."""


@contextmanager
def hooked(
    forward: Mapping[nn.Module, ForwardHook] | None = None,
    pre: Mapping[nn.Module, PreHook] | None = None,
) -> Iterator[None]:
    """Attach hooks to modules for the duration of the block, and remove them whatever happens.

    Args:
        forward: Called as `hook(module, args, output)`; a returned value replaces the output.
        pre: Called as `hook(module, args, kwargs)`; a returned `(args, kwargs)` replaces both.
    """
    with ExitStack() as stack:
        for module, pre_hook in (pre or {}).items():
            handle = module.register_forward_pre_hook(pre_hook, with_kwargs=True)
            stack.callback(handle.remove)
        for module, forward_hook in (forward or {}).items():
            stack.callback(module.register_forward_hook(forward_hook).remove)
        yield


def first_tensor(output: Any) -> Tensor:
    """The hidden states of a module's output, which some families wrap in a tuple."""
    tensor: Tensor = output[0] if isinstance(output, tuple) else output
    return tensor


def replace_first(output: Any, tensor: Tensor) -> Any:
    """A module's output with its hidden states replaced, wrapped as it was."""
    return (tensor, *output[1:]) if isinstance(output, tuple) else tensor


def hidden_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The hidden states that a block was called with, positional or by keyword."""
    tensor: Tensor = args[0] if args else kwargs["hidden_states"]
    return tensor


def replace_hidden_input(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], tensor: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a block's call with its hidden states replaced."""
    if args:
        return (tensor, *args[1:]), dict(kwargs)
    return args, {**kwargs, "hidden_states": tensor}
