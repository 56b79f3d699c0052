"""Find the parts of a decoder in its module tree, by structure."""

from typing import Any

import torch
from torch import nn

from llm_anatomy.errors import UserError
from llm_anatomy.model.parts.architecture import AttentionParts, Block, Decoder, Mlp
from llm_anatomy.model.parts.families import (
    fused_qkv_rows,
    is_parallel,
    key_value_heads,
    refuse_unsupported,
)
from llm_anatomy.model.parts.norm import Norm, read_norm
from llm_anatomy.model.parts.projection import (
    Projection,
    input_features,
    is_linear,
    output_features,
)

FUSED_QKV = ("qkv_proj", "c_attn", "query_key_value", "Wqkv")
ATTENTION_OUT = ("o_proj", "out_proj", "dense", "c_proj")
UNGATED_MLP = (
    ("c_fc", "c_proj"),
    ("dense_h_to_4h", "dense_4h_to_h"),
    ("fc1", "fc2"),
    ("fc_in", "fc_out"),
    ("up_proj", "down_proj"),
)
ACTIVATIONS = ("act_fn", "act", "activation_fn", "gelu_impl")
ATTENTION_NORMS = (
    "input_layernorm",
    "ln_1",
    "norm_1",
    "self_attn_layer_norm",
    "ln_attn",
    "attention_layernorm",
)
MLP_NORMS = (
    "post_attention_layernorm",
    "ln_2",
    "norm_2",
    "final_layer_norm",
    "ln_mlp",
    "feedforward_layernorm",
)
FINAL_NORMS = ("norm", "ln_f", "norm_f", "final_layer_norm", "final_layernorm")


def resolve(model: Any) -> Decoder:
    """Find the parts of a decoder in its module tree; works on the meta device too.

    Raises:
        UserError: The tree does not have the parts of a decoder that the formulas need; the
            message ends with the module tree.
    """
    config = model.config.get_text_config()
    try:
        reason = refuse_unsupported(config)
        if reason is not None:
            raise LookupError(reason)
        names = {module: name for name, module in model.named_modules()}
        modules = _block_list(model, config)
        head = model.get_output_embeddings()
        if head is None:
            raise LookupError("it has no LM head")
        body = model.base_model
        d_model = input_features(head)
        return Decoder(
            model=model,
            config=config,
            body=body,
            blocks=tuple(
                _block(index, module, names, config, d_model)
                for index, module in enumerate(modules)
            ),
            final_norm=_final_norm(modules, names, model, d_model),
            head=Projection(names[head], head),
            logit_scale=_logit_scale(config),
            logit_softcap=getattr(config, "final_logit_softcapping", None),
        )
    except (LookupError, ValueError) as error:
        raise UserError(
            f"the model type '{config.model_type}' cannot be taken apart: {error}; "
            f"its module tree is:\n{module_tree(model)}"
        ) from error


def module_tree(model: Any) -> str:
    """A model's module tree with one block shown, for error messages."""
    lines = []
    for name, module in model.named_modules():
        if any(part.isdigit() and part != "0" for part in name.split(".")):
            continue
        shape = getattr(getattr(module, "weight", None), "shape", None)
        lines.append(f"  {name} {type(module).__name__} {tuple(shape) if shape else ''}".rstrip())
    return "\n".join(lines)


def _block_list(model: Any, config: Any) -> list[nn.Module]:
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    lists = [m for m in lists if len(m) == config.num_hidden_layers and _children(m[0], "attn")]
    if not lists:
        raise LookupError(f"no list of {config.num_hidden_layers} blocks with attention was found")
    return list(lists[0])


def _children(module: nn.Module, word: str) -> list[nn.Module]:
    """Children that look like attention (by name) and hold linear maps; GPT-Neo wraps them."""
    words = (word, "attention")
    found: list[nn.Module] = []
    for name, child in module.named_children():
        if any(w in name.lower() for w in words):
            maps = any(is_linear(m) for m in child.children())
            found += [child] if maps else _children(child, word)
    return found


def _block(
    index: int, module: nn.Module, names: dict[nn.Module, str], config: Any, d_model: int
) -> Block:
    attention = _children(module, "attn")
    if len(attention) != 1:
        raise LookupError(f"layer {index} has {len(attention)} attention modules instead of one")
    projections: AttentionParts | None = None
    mlp: Mlp | None = None
    refusals: list[str | None] = [None, None]
    # What only some studies need is refused by them.
    try:
        projections = _attention_projections(attention[0], names, config)
    except LookupError as error:
        refusals[0] = str(error)
    try:
        mlp = _mlp(index, module, names)
    except LookupError as error:
        refusals[1] = str(error)
    norms = _norms(module, names, d_model)
    return Block(
        index=index,
        module=module,
        attention=attention[0],
        projections=projections,
        mlp=mlp,
        attention_norm=norms[0],
        mlp_norm=norms[1],
        attention_post_norm=norms[2],
        mlp_post_norm=norms[3],
        parallel=is_parallel(config) or (norms[0] is not None and norms[0] is norms[1]),
        residual_scale=float(getattr(config, "residual_multiplier", None) or 1.0),
        attention_refusal=refusals[0],
        mlp_refusal=refusals[1],
    )


def _attention_projections(
    attention: nn.Module, names: dict[nn.Module, str], config: Any
) -> AttentionParts:
    out = _first(attention, ATTENTION_OUT)
    if out is None:
        raise LookupError(f"'{names[attention]}' has no output projection")
    o = Projection(names[out], out)
    separate = [getattr(attention, f"{role}_proj", None) for role in "qkv"]
    head_dim = getattr(attention, "head_dim", None) or getattr(attention, "head_size", None)
    if head_dim is None:
        head_dim = input_features(out) // config.num_attention_heads
    if all(module is not None for module in separate):
        q, k, v = (Projection(names[m], m) for m in separate if m is not None)
        return _attention_parts(q, k, v, o, int(head_dim))
    fused_name = next((name for name in FUSED_QKV if hasattr(attention, name)), None)
    if fused_name is None:
        raise LookupError(f"'{names[attention]}' has no query, key and value projections")
    fused = getattr(attention, fused_name)
    n_heads = input_features(out) // int(head_dim)
    rows = fused_qkv_rows(
        config, fused_name, n_heads, key_value_heads(config, n_heads), int(head_dim)
    )
    if sum(len(r) for r in rows) != output_features(fused):
        raise LookupError(f"'{names[fused]}' has {output_features(fused)} rows, not q, k and v")
    q, k, v = (Projection(names[fused], fused, r) for r in rows)
    return _attention_parts(q, k, v, o, int(head_dim))


def _attention_parts(
    q: Projection, k: Projection, v: Projection, o: Projection, head_dim: int
) -> AttentionParts:
    if q.out_features != input_features(o.module):
        # Qwen3.5's queries come with a gate for each head's output.
        raise LookupError(
            f"'{q.name}' has {q.out_features} rows, but '{o.name}' reads "
            f"{input_features(o.module)} features"
        )
    return AttentionParts(
        q, k, v, o, q.out_features // head_dim, v.out_features // head_dim, head_dim
    )


def _mlp(index: int, block: nn.Module, names: dict[nn.Module, str]) -> Mlp:
    holder = _first(block, ("mlp", "ffn", "feed_forward"))
    if holder is None:
        # OPT keeps fc1 and fc2 in the block itself.
        holder = block
    if _first(holder, ("experts",)) is not None or (
        holder is block and _first(block, ("block_sparse_moe", "moe")) is not None
    ):
        raise LookupError(f"layer {index} is a mixture of experts")
    activation = _first(holder, ACTIVATIONS)
    if activation is None:
        raise LookupError(f"the MLP of layer {index} has no activation function")
    gate, up = _first(holder, ("gate_proj",)), _first(holder, ("up_proj",))
    fused, down = _first(holder, ("gate_up_proj",)), _first(holder, ("down_proj",))
    if fused is not None and down is not None:
        # Phi-3: all gate rows, then all up rows.
        rows = torch.arange(output_features(fused))
        half = len(rows) // 2
        return Mlp(
            Projection(names[fused], fused, rows[:half]),
            Projection(names[fused], fused, rows[half:]),
            Projection(names[down], down),
            activation,
        )
    if gate is not None and up is not None and down is not None:
        return Mlp(
            Projection(names[gate], gate),
            Projection(names[up], up),
            Projection(names[down], down),
            activation,
        )
    for first_name, second_name in UNGATED_MLP:
        first, second = _first(holder, (first_name,)), _first(holder, (second_name,))
        if first is not None and second is not None:
            return Mlp(
                None, Projection(names[first], first), Projection(names[second], second), activation
            )
    raise LookupError(f"the MLP of layer {index} has no up and down projections")


def _norms(
    block: nn.Module, names: dict[nn.Module, str], d_model: int
) -> tuple[Norm | None, Norm | None, Norm | None, Norm | None]:
    """Norms before attention, before the MLP, after attention, after the MLP."""

    def read(*candidates: str) -> Norm | None:
        module = _first(block, candidates)
        return None if module is None else read_norm(names[module], module, d_model)

    if hasattr(block, "post_feedforward_layernorm"):
        # Gemma 2 and 3 have norms on both sides of each sublayer, OLMo-2 only behind.
        return (
            read("input_layernorm"),
            read("pre_feedforward_layernorm"),
            read("post_attention_layernorm"),
            read("post_feedforward_layernorm"),
        )
    if hasattr(block, "post_self_attn_layernorm"):
        # GLM-4 has norms on both sides of each sublayer, under names of its own.
        return (
            read("input_layernorm"),
            read("post_attention_layernorm"),
            read("post_self_attn_layernorm"),
            read("post_mlp_layernorm"),
        )
    attention_norm, mlp_norm = read(*ATTENTION_NORMS), read(*MLP_NORMS)
    return attention_norm, mlp_norm or attention_norm, None, None


def _final_norm(
    blocks: list[nn.Module], names: dict[nn.Module, str], model: Any, d_model: int
) -> Norm:
    prefix = names[blocks[0]].rsplit(".", 2)[0]
    owner = model.get_submodule(prefix)
    module = _first(owner, FINAL_NORMS)
    if module is None:
        raise LookupError(f"'{prefix}' has no final norm")
    return read_norm(names[module], module, d_model)


def _logit_scale(config: Any) -> float:
    if getattr(config, "logit_scale", None):
        return float(config.logit_scale)
    if getattr(config, "logits_scaling", None):
        return 1.0 / float(config.logits_scaling)
    return 1.0


def _first(module: nn.Module, names: tuple[str, ...]) -> Any | None:
    """The first child of one of these names that is there and not None."""
    return next((c for c in (getattr(module, name, None) for name in names) if c is not None), None)
