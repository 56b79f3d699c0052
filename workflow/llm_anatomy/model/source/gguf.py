"""Convert a GGUF file to safetensors once, and prove that nothing changed.

Traps of transformers 5.23 that are handled here: a GGUF-loaded model refuses `save_pretrained`,
some pre-tokenizers named in the file are ignored, special tokens that the file lacks are invented,
and so are weights.
"""

import copy
import functools
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from llm_anatomy.artefacts.shortage import shortage_of
from llm_anatomy.errors import UserError

logger = logging.getLogger(__name__)

# Texts whose logits and tokens are compared: digits, blank lines, accents, emoji, code.
PROBES = (
    "The capital of France is",
    "In 1984, 12+34 = 46.\n\n7 items\tcost 3.50 each.",
    "Größe, naïve café, привет, 你好, 🙂!",
    "def f(x):\n    return x ** 2\n",
)
# The weights are the same numbers; kernels may still sum in another order when memory is aligned
# differently. Logits are around 20, so this is a few units in the last place of float32.
LOGIT_TOLERANCE = 1e-4
# llama.cpp splits every digit from its neighbours before byte-level BPE for these.
SINGLE_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
# For these GPT-2's own splitting, which transformers starts from, is the right one.
GPT2_SPLIT = {"default", "gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "dolma", "roberta-bpe"}


def convert_gguf(file: Path, target: Path, name: str) -> dict[str, Any]:
    """Dequantise a GGUF file to a float32 safetensors folder with configuration and tokenizer.

    The folder is read back, and its tokens and logits on `PROBES` must equal those of the model as
    transformers loads it from the GGUF file.

    Args:
        file: The GGUF file.
        target: Empty folder to write to.
        name: The model's configured name, for messages.

    Returns:
        What the file says of itself: `licence` and `tokenizer_split`.

    Raises:
        UserError: transformers cannot read the file, weights are missing from it, or its tokenizer
            cannot be rebuilt faithfully.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    metadata = read_metadata(file, name)
    # Without the configuration, tokenizer and model would each read the file's long lists for it.
    source: dict[str, Any] = {
        "pretrained_model_name_or_path": file.parent,
        "gguf_file": file.name,
    }
    try:
        with _read_once():
            source["config"] = AutoConfig.from_pretrained(**source)
            tokenizer = AutoTokenizer.from_pretrained(**source)
            logger.info("dequantising %s", file.name)
            # With `output_loading_info` a pair is returned, which its annotation does not say.
            pair: Any = AutoModelForCausalLM.from_pretrained(
                **source, dtype=torch.float32, output_loading_info=True
            )
        loaded, report = pair
    except (ValueError, KeyError, OSError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the model '{name}': transformers cannot read {file} ({reason})"
        ) from error
    missing = sorted(set(report["missing_keys"]) | {key for key, *_ in report["mismatched_keys"]})
    if missing:
        raise UserError(
            f"the model '{name}': {file} lacks {len(missing)} weights of its architecture, first "
            f"{missing[0]}; it was made for another program or is damaged"
        )
    split = set_digit_split(tokenizer, metadata, name)
    tokenizer = without_invented_tokens(tokenizer, int(metadata["tokenizer.ggml.tokens"]))
    loaded.eval()
    tokens = [tokenizer(text)["input_ids"] for text in PROBES]
    expected = probe_logits(loaded, tokens)
    _save(loaded, target)
    tokenizer.save_pretrained(target)
    # Both are needed only to compare with; two models at once would double the memory.
    del loaded, pair
    gap = _prove(target, tokens, expected, name)
    logger.info("%s: tokens equal, logits within %.2g on %d probes", file.name, gap, len(PROBES))
    return {"licence": metadata.get("general.license", "unknown"), "tokenizer_split": split}


@contextmanager
def _read_once() -> Iterator[None]:
    """Let transformers parse a GGUF file once.

    It parses the file's long lists anew for the configuration, the tokenizer and the weights, and
    makes the map of tensor names anew for every submodule: together half of a conversion's time.
    """
    import gguf

    package: Any = gguf
    originals = {name: getattr(package, name) for name in ("GGUFReader", "get_tensor_name_map")}
    try:
        for name, original in originals.items():
            setattr(package, name, functools.cache(original))
        yield
    finally:
        for name, original in originals.items():
            setattr(package, name, original)


def set_digit_split(tokenizer: Any, metadata: dict[str, Any], name: str) -> str:
    """Give a byte-level tokenizer the pre-tokenizer that its GGUF file names.

    Returns:
        The name of the split, as in the file.

    Raises:
        UserError: The file names a split that neither transformers nor this function knows: its
            token ids would be wrong.
    """
    from tokenizers import pre_tokenizers
    from transformers.integrations.gguf import gguf_tokenizer_mapping

    split = str(metadata.get("tokenizer.ggml.pre", "default"))
    if metadata.get("tokenizer.ggml.model") != "gpt2":
        return split
    if split in SINGLE_DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    elif split not in GPT2_SPLIT and split not in gguf_tokenizer_mapping.GGUF_PRE_TOKENIZER_SPLITS:
        raise UserError(
            f"the model '{name}': its GGUF file names the pre-tokenizer '{split}', which "
            "transformers does not rebuild, so its tokens would be wrong; give the original "
            "model under 'path' or 'hub'"
        )
    return split


def without_invented_tokens(tokenizer: Any, count: int) -> Any:
    """A tokenizer without the special tokens that transformers adds beyond a file's vocabulary.

    A byte-level tokenizer gets `<|endoftext|>` where the file has none; its id would be beyond the
    rows of the LM head.

    Args:
        tokenizer: A fast tokenizer.
        count: Number of tokens in the GGUF file.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = [token for token in state["added_tokens"] if token["id"] < count]
    if len(kept) == len(state["added_tokens"]):
        return tokenizer
    state["added_tokens"] = kept
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    ids = {name: getattr(tokenizer, f"{name}_id") for name in names}
    special = {
        name: getattr(tokenizer, name)
        for name, token_id in ids.items()
        if token_id is not None and token_id < count
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        chat_template=tokenizer.chat_template,
        clean_up_tokenization_spaces=False,
        **special,
    )


@torch.inference_mode()
def probe_logits(model: Any, tokens: list[list[int]]) -> list[torch.Tensor]:
    """Logits of each probe, one by one: no padding is involved."""
    return [model(torch.tensor([ids]), use_cache=False).logits for ids in tokens]


def read_metadata(file: Path, name: str) -> dict[str, Any]:
    """A GGUF file's metadata, without its tensors.

    Raises:
        UserError: The file is no GGUF file, or cut short.
    """
    from transformers.integrations.gguf.reader import read_gguf_metadata

    try:
        metadata: dict[str, Any] = read_gguf_metadata(str(file))[0]
    except (ValueError, IndexError, OSError, OverflowError, UnicodeDecodeError) as error:
        raise UserError(
            f"the model '{name}': {file} is not a readable GGUF file ({error})"
        ) from error
    except Exception as error:  # struct.error and mmap errors of a file that is cut short
        if shortage_of(error):
            raise
        raise UserError(f"the model '{name}': {file} is cut short or damaged") from error
    return metadata


def _save(loaded: Any, target: Path) -> None:
    """Save through a fresh model that never knew a quantiser, sharing the loaded tensors."""
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config._name_or_path = ""
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(target)


def _prove(target: Path, tokens: list[list[int]], expected: list[torch.Tensor], name: str) -> float:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(target, local_files_only=True)
    if [tokenizer(text)["input_ids"] for text in PROBES] != tokens:
        raise UserError(f"the model '{name}': its tokenizer changed when it was converted")
    model = AutoModelForCausalLM.from_pretrained(
        target, dtype=torch.float32, local_files_only=True, use_safetensors=True
    ).eval()
    found = probe_logits(model, tokens)
    gap = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
    if not gap <= LOGIT_TOLERANCE:
        raise UserError(
            f"the model '{name}': converted weights give other logits than the GGUF file (by up to "
            f"{gap:.3g}); the conversion is not used"
        )
    return gap
