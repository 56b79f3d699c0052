"""Tiny random models of every family, with a tokenizer, for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

VOCAB = 320
COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
LLAMA: dict[str, Any] = COMMON | {
    "intermediate_size": 48,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
GPT_J: dict[str, Any] = COMMON | {"rotary_dim": 4, "n_inner": 48, "n_positions": 128}
HEADS: dict[str, Any] = LLAMA | {"head_dim": 8}
WINDOW: dict[str, Any] = LLAMA | {"sliding_window": 4}
# Configuration overrides per family; the keys are transformers' model types.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", LLAMA),
    "llama_tied": ("llama", LLAMA | {"tie_word_embeddings": True}),
    "mistral": ("mistral", LLAMA | {"sliding_window": 8}),
    "qwen2": ("qwen2", LLAMA),
    "qwen3": ("qwen3", LLAMA | {"head_dim": 8}),
    "gemma": ("gemma", LLAMA | {"head_dim": 8}),
    "gemma2": ("gemma2", LLAMA | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8}),
    "gemma3": ("gemma3_text", LLAMA | {"head_dim": 8, "sliding_window": 8}),
    "phi3": ("phi3", LLAMA),
    "smollm3": ("smollm3", LLAMA),
    "olmo2": ("olmo2", LLAMA),
    "gpt2": ("gpt2", COMMON | {"n_inner": 48, "n_positions": 128}),
    "gpt_neox": ("gpt_neox", COMMON | {"intermediate_size": 48, "max_position_embeddings": 128}),
    "opt": (
        "opt",
        COMMON | {"ffn_dim": 48, "max_position_embeddings": 128, "word_embed_proj_dim": 32},
    ),
    "falcon": ("falcon", COMMON | {"new_decoder_architecture": False, "multi_query": True}),
    "falcon_new": (
        "falcon",
        COMMON | {"new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "falcon_alibi": (
        "falcon",
        COMMON | {"alibi": True, "parallel_attn": False, "multi_query": False},
    ),
    "bloom": ("bloom", COMMON),
    "stablelm": ("stablelm", LLAMA),
    "stablelm_parallel": ("stablelm", LLAMA | {"use_parallel_residual": True}),
    "cohere": ("cohere", LLAMA | {"logit_scale": 0.25}),
    "mpt": ("mpt", COMMON | {"expansion_ratio": 2, "max_seq_len": 128}),
    "phi": ("phi", LLAMA),
    "granite": (
        "granite",
        LLAMA | {"residual_multiplier": 0.5, "logits_scaling": 4.0, "embedding_multiplier": 3.0},
    ),
    "gpt_neo": (
        "gpt_neo",
        {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 128,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
    ),
    "gptj": ("gptj", GPT_J),
    "codegen": ("codegen", GPT_J | {"num_attention_heads": 8}),
    "gpt_bigcode": ("gpt_bigcode", COMMON | {"n_inner": 48, "n_positions": 128}),
    "glm": ("glm", HEADS | {"partial_rotary_factor": 0.5}),
    "glm4": ("glm4", HEADS | {"partial_rotary_factor": 0.5}),
    "apertus": ("apertus", LLAMA),
    "olmo": ("olmo", LLAMA),
    "olmo3": ("olmo3", WINDOW),
    "exaone4": ("exaone4", WINDOW),
    "ministral": ("ministral", HEADS | WINDOW),
    "ministral3": ("ministral3", HEADS),
    "starcoder2": ("starcoder2", WINDOW),
    "nemotron": ("nemotron", HEADS),
    "cohere2": ("cohere2", HEADS | WINDOW | {"logit_scale": 0.25}),
    "persimmon": ("persimmon", LLAMA),
}

# Mixtures of experts, and other families whose parts only some studies can read: beside each, the
# studies that cover it.
# The eager implementation, because torch multiplies experts in groups in float32 at most.
EXPERTS: dict[str, Any] = LLAMA | {"num_experts_per_tok": 2, "experts_implementation": "eager"}
PARTLY: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("mixtral", EXPERTS | {"num_local_experts": 4}),
    "qwen3_moe": (
        "qwen3_moe",
        EXPERTS | {"head_dim": 8, "num_experts": 4, "moe_intermediate_size": 24},
    ),
    "olmoe": ("olmoe", EXPERTS | {"num_experts": 4}),
    "granitemoe": ("granitemoe", EXPERTS | {"num_local_experts": 4}),
    "phimoe": ("phimoe", EXPERTS | {"num_local_experts": 4}),
    "gpt_oss": (
        "gpt_oss",
        EXPERTS | {"head_dim": 8, "num_local_experts": 4, "sliding_window": 4},
    ),
    "deepseek_v2": (
        "deepseek_v2",
        EXPERTS
        | {
            "num_key_value_heads": 4,
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "n_routed_experts": 4,
            "moe_intermediate_size": 24,
            "first_k_dense_replace": 1,
        },
    ),
    "gemma4": (
        "gemma4_text",
        LLAMA
        | {
            "head_dim": 8,
            "global_head_dim": 8,
            "sliding_window": 8,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCAB,
            "num_kv_shared_layers": 0,
        },
    ),
    "qwen3_5": (
        "qwen3_5_text",
        LLAMA
        | {
            "head_dim": 8,
            "num_hidden_layers": 4,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
}


def tiny_model(
    family: str, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any
) -> Any:
    """A random model of a family, weights drawn wide enough that every part matters."""
    model_type, overrides = (FAMILIES | PARTLY)[family]
    config = AutoConfig.for_model(model_type, **(overrides | changes))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                # Biases and gains of trained models are neither zero nor one.
                base = 1.0 if "bias" not in name and parameter.abs().sum() > 0 else 0.0
                parameter.copy_(base + 0.2 * noise)
            else:
                parameter.copy_(noise * (0.5 if "embed" in name or "wte" in name else 0.25))
    model.tie_weights()
    return model.to(dtype).eval().requires_grad_(False)


WORDS = (
    "Ġthe",
    "Ġis",
    "Ġof",
    "Ġcapital",
    "Ġcity",
    "ĠParis",
    "ĠRome",
    "ĠFrance",
    "ĠItaly",
    "The",
)


def tiny_tokenizer(words: Sequence[str] = WORDS, vocab: int = VOCAB) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: one token per byte, after one special token, and some words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|end|>": 0} | {symbol: index + 1 for index, symbol in enumerate(alphabet)}
    merges = []
    for word in words:
        piece = word[0]
        for symbol in word[1:]:
            if piece + symbol not in vocabulary:
                merges.append((piece, symbol))
                vocabulary[piece + symbol] = len(vocabulary)
            piece += symbol
    assert len(vocabulary) <= vocab, len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>", pad_token="<|end|>"
    )
    fast.chat_template = (
        "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    return fast


# With these the tokenizer writes most capitals with first tokens of their own.
INITIALS = tuple(f"Ġ{letter}" for letter in "CLMNOST")


def save_tiny_model(
    folder: Path,
    family: str = "llama",
    seed: int = 0,
    words: Sequence[str] = WORDS,
    **changes: Any,
) -> Path:
    """Write a tiny random model with its tokenizer as a model folder, as a user would have one."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_model(family, seed, **changes).save_pretrained(folder)
    tiny_tokenizer(words).save_pretrained(folder)
    return folder
