"""Call single blocks of a decoder again, with other states, rows and cached keys and values.

What a block needs beside its hidden states (masks, rotary embeddings, ALiBi, positions) is made by
the model itself: its forward pass is run with every block replaced by the identity, and the
arguments that each block would have been called with are kept. So no family is named here.

Rows share their geometry: the same number of tokens at the same positions, and no padding.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin

from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import Decoder
from llm_anatomy.model.parts.projection import Projection, output_features
from llm_anatomy.model.run.hooks import (
    first_tensor,
    hidden_input,
    hooked,
    replace_first,
    replace_hidden_input,
)

# Arguments of a block's call: positional, by keyword.
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class KeyValues(NamedTuple):
    """Keys and values of one block, rotary embedding applied, as the model's cache holds them."""

    keys: Float[Tensor, "rows kv_heads tokens head_dim"]
    values: Float[Tensor, "rows kv_heads tokens head_dim"]

    def slots(self, first: int, last: int) -> "KeyValues":
        """Keys and values of the positions `first` to `last - 1`."""
        return KeyValues(self.keys[:, :, first:last], self.values[:, :, first:last])

    def select(self, rows: slice) -> "KeyValues":
        """Keys and values of some rows."""
        return KeyValues(self.keys[rows], self.values[rows])

    def tiled(self, times: int) -> "KeyValues":
        """All rows, `times` times over: row r of copy i becomes row `i * rows + r`."""
        return KeyValues(*(_tiled(tensor, times) for tensor in self))

    def repeated(self, times: int) -> "KeyValues":
        """Every row `times` times in turn: copy i of row r becomes row `r * times + i`."""
        return KeyValues(*(tensor.repeat_interleave(times, dim=0) for tensor in self))

    def followed_by(self, later: "KeyValues") -> "KeyValues":
        """These positions, then those of `later`."""
        return KeyValues(
            torch.cat([self.keys, later.keys], dim=2),
            torch.cat([self.values, later.values], dim=2),
        )


def stack_rows(parts: list[KeyValues]) -> KeyValues:
    """The rows of several parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return KeyValues(torch.cat([p.keys for p in parts]), torch.cat([p.values for p in parts]))


class Replay:
    """Blocks of a decoder, callable one by one.

    Raises:
        UserError: The blocks, called one by one, do not give what the whole model gives.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self._takes_positions = "position_ids" in inspect.signature(decoder.body.forward).parameters
        self._wrap = self._output_form()
        self._memo: dict[tuple[int, int, int], list[Arguments]] = {}
        # Arguments made for one row serve any number of rows where they broadcast (ALiBi does not).
        self._broadcast = True
        if not self._proves():
            self._broadcast = False
            self._memo.clear()
            if not self._proves():
                raise UserError(
                    f"the model {type(decoder.model).__name__} computes something else when its "
                    "blocks are called one by one, so layer sweeps of it would be wrong; leave "
                    "patching out of `studies`"
                )

    def embed(self, tokens: Int[Tensor, "rows tokens"], start: int = 0) -> Float[Tensor, "..."]:
        """Input of block 0 for tokens at the positions `start`, `start + 1`, …

        Args:
            tokens: Token ids, [rows, tokens].
            start: Position of the first one.

        Returns:
            States X^0, [rows, tokens, d_model].
        """
        return self._dry_run(tokens, start)[1]

    def block(
        self,
        index: int,
        states: Float[Tensor, "rows tokens d_model"],
        past: KeyValues | None = None,
    ) -> tuple[Float[Tensor, "rows tokens d_model"], KeyValues]:
        """Run one block on states that follow the cached positions `past`.

        Returns:
            The block's output, and its keys and values for all positions, cached ones included.
        """
        start = 0 if past is None else past.keys.shape[2]
        slot = _Slot(start, past)
        output = self._call(index, states, start, slot)
        assert slot.recorded is not None
        return output, slot.recorded

    def block_without_attention(
        self, index: int, states: Float[Tensor, "rows tokens d_model"]
    ) -> Float[Tensor, "rows tokens d_model"]:
        """Run one block with its attention sublayer left out: x + MLP(norm(x))."""
        block = self.decoder.blocks[index]
        # Without proof: that nothing comes out of attention is all that matters.
        own = block.projections
        if own is None:
            with hooked(forward={block.attention: _nothing}):
                return self._call(index, states, 0, _Slot(0, None))
        parts = {p.module: p for p in (own.q, own.k, own.v, own.o)}
        with replaced_forward({module: _zeros(p) for module, p in parts.items()}):
            return self._call(index, states, 0, _Slot(0, None))

    def key_values(
        self, index: int, states: Float[Tensor, "rows tokens d_model"], start: int = 0
    ) -> KeyValues:
        """Only a block's keys and values of states at the positions `start`, `start + 1`, …

        The block is left as soon as it hands its keys and values to the cache.
        """
        block = self.decoder.blocks[index]
        slot = _Slot(start, None, stop=True)
        own = block.projections
        fused = own is None or own.q.module in (own.k.module, own.v.module)
        unused = {} if own is None or fused else {own.q.module: _zeros(own.q)}
        with replaced_forward(unused), suppress(_RecordedError):
            self._call(index, states, start, slot)
        assert slot.recorded is not None
        return slot.recorded

    def _call(
        self, index: int, states: Tensor, start: int, slot: "_Slot"
    ) -> Float[Tensor, "rows tokens d_model"]:
        rows, tokens = states.shape[:2]
        key = (1 if self._broadcast else rows, tokens, start)
        if key not in self._memo:
            zeros = torch.zeros(key[:2], dtype=torch.long, device=self.decoder.device)
            self._memo[key] = self._dry_run(zeros, start)[0]
        args, kwargs = self._memo[key][index]
        cache = slot.cache(self.decoder.n_layers)
        args = tuple(cache if isinstance(value, Cache) else value for value in args)
        kwargs = {k: cache if isinstance(v, Cache) else v for k, v in kwargs.items()}
        args, kwargs = replace_hidden_input(args, kwargs, states)
        return first_tensor(self.decoder.blocks[index].module(*args, **kwargs))

    def _dry_run(self, tokens: Tensor, start: int) -> tuple[list[Arguments], Tensor]:
        """The arguments of every block's call for this geometry, and the input of block 0."""
        calls: list[Arguments] = []
        first: list[Tensor] = []

        def identity(*args: Any, **kwargs: Any) -> Any:
            states = hidden_input(args, kwargs)
            if not first:
                first.append(states)
            calls.append((args, kwargs))
            return self._wrap(states)

        modules = [block.module for block in self.decoder.blocks]
        rows, length = tokens.shape
        inputs: dict[str, Any] = {
            "input_ids": tokens,
            "attention_mask": tokens.new_ones(rows, start + length),
            "past_key_values": _Slot(start, None).cache(self.decoder.n_layers),
            "use_cache": True,
        }
        if self._takes_positions:
            positions = torch.arange(start, start + length, device=tokens.device)
            inputs["position_ids"] = positions.expand(tokens.shape)
        with torch.no_grad(), replaced_forward(dict.fromkeys(modules, identity)):
            self.decoder.body(**inputs)
        # Hidden states are put in at each call; keeping these would only hold memory.
        nothing = first[0].new_empty(0)
        return [replace_hidden_input(*call, nothing) for call in calls], first[0]

    def _output_form(self) -> Callable[[Tensor], Any]:
        """How this family's blocks wrap their output."""
        seen: list[Any] = []
        tokens = torch.ones((1, 2), dtype=torch.long, device=self.decoder.device)
        module = self.decoder.blocks[0].module
        with torch.no_grad(), hooked(forward={module: lambda *call: seen.append(call[2])}):
            self.decoder.body(input_ids=tokens, attention_mask=tokens, use_cache=False)
        if isinstance(seen[0], tuple):
            return lambda states: (states, *[None] * (len(seen[0]) - 1))
        return lambda states: states

    def _proves(self) -> bool:
        """Whether blocks one by one, in two rows and two cached parts, equal the whole model."""
        size = min(self.decoder.vocab_size, 97)
        tokens = (torch.arange(10, device=self.decoder.device) * 7 % size).view(2, 5)
        with torch.no_grad():
            expected = self.decoder.body(
                input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
            ).last_hidden_state
            try:
                first, pasts = self.embed(tokens[:, :3]), []
                for index in range(self.decoder.n_layers):
                    first, past = self.block(index, first)
                    pasts.append(past)
                second = self.embed(tokens[:, 3:], 3)
                for index in range(self.decoder.n_layers):
                    second, _ = self.block(index, second, pasts[index])
            except (RuntimeError, ValueError, IndexError, AssertionError):
                return False
            actual = self.decoder.final_norm.module(torch.cat([first, second], dim=1))
            # Some families (OPT) project after the norm; then the shapes already tell.
            if actual.shape != expected.shape:
                return False
            distance = (actual - expected).abs().max()
            return bool(distance <= self.decoder.accepted("replay") * expected.abs().max())


@contextmanager
def replaced_forward(functions: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Let modules compute something else for the duration of the block, and always undo it."""
    with ExitStack() as stack:
        for module, function in functions.items():
            # Accelerate keeps its own `forward` on the instance; it is put back as it was.
            own = module.__dict__.get("forward")
            stack.callback(_restore, module, own)
            module.__dict__["forward"] = function
        yield


def _restore(module: nn.Module, own: Any) -> None:
    if own is None:
        del module.__dict__["forward"]
    else:
        module.__dict__["forward"] = own


def _zeros(projection: Projection) -> Callable[[Tensor], Tensor]:
    width = output_features(projection.module)
    return lambda states: states.new_zeros(*states.shape[:-1], width)


def _nothing(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    return replace_first(output, torch.zeros_like(first_tensor(output)))


def _tiled(tensor: Tensor, times: int) -> Tensor:
    return tensor.unsqueeze(0).expand(times, *tensor.shape).flatten(0, 1)


class _RecordedError(Exception):
    """Leaves a block whose keys and values are all that is wanted."""


class _Slot(CacheLayerMixin):
    """One block's cache: what came before, and what the block adds."""

    def __init__(self, length: int, past: KeyValues | None, stop: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # transformers is not typed
        self.length, self.past, self.stop = length, past, stop
        self.recorded: KeyValues | None = None

    def cache(self, n_layers: int) -> Cache:
        """A transformers cache in which every layer is this one; one block is called at a time."""
        return Cache(layers=[self] * n_layers)

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        new = KeyValues(key_states, value_states)
        self.recorded = new if self.past is None else self.past.followed_by(new)
        if self.stop:
            raise _RecordedError
        return self.recorded.keys, self.recorded.values

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to allocate: the past is given and the rest is recorded."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1
