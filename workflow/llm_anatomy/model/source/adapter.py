"""LoRA adapters as files: what belongs to one, and which of their options can be merged.

Standard library only, so that a mistake is found while the workflow is being read.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_anatomy.errors import UserError
from llm_anatomy.model.source.shards import read_header

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
# Options that change nothing of the merged weights, or that the merge follows.
KNOWN = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "loftq_config",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
}
# Ways to begin a training that leave the base model as it was; others also change its weights.
PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class LoraSettings:
    """What `adapter_config.json` says about the merge.

    Attributes:
        rank: Rank r of the updates.
        alpha: Numerator of their scale.
        ranks: Ranks of modules whose names match a pattern.
        alphas: Numerators of modules whose names match a pattern.
        rank_stabilised: Whether the scale is alpha / sqrt(r) (rsLoRA) instead of alpha / r.
        base: The base model as the adapter's author names it.
    """

    rank: int
    alpha: float
    ranks: dict[str, int]
    alphas: dict[str, float]
    rank_stabilised: bool
    base: str

    def rank_of(self, module: str) -> int:
        """Rank of a module's update."""
        return self.ranks.get(_pattern(self.ranks, module), self.rank)

    def scale(self, module: str) -> float:
        """Factor s of a module's update W + s B A (Hu et al. 2021, section 4.1)."""
        alpha = self.alphas.get(_pattern(self.alphas, module), self.alpha)
        rank = self.rank_of(module)
        return alpha / math.sqrt(rank) if self.rank_stabilised else alpha / rank


def check_adapter(folder: Path, name: str) -> LoraSettings:
    """Check that a folder holds a LoRA adapter that can be merged; returns its settings.

    Args:
        folder: The adapter's folder.
        name: The configured name of the model that it is for, for the message.

    Raises:
        UserError: It does not, or the adapter is of a kind that is not merged here.
    """
    where = f"the model '{name}': the adapter {folder}"
    if not folder.is_dir():
        raise UserError(
            f"the model '{name}': there is no folder {folder}; correct its 'adapter', or give "
            "'adapter_revision' too if it is a hub id"
        )
    if not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(f"{where} has no {ADAPTER_CONFIG}; save it with PEFT's save_pretrained")
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():
        raise UserError(
            f"{where} has no {ADAPTER_WEIGHTS} (pickled weights are refused); save it with PEFT's "
            "save_pretrained, which writes safetensors"
        )
    try:
        complete = read_header(weights).n_bytes
    except ValueError as error:
        raise UserError(f"{where}: {ADAPTER_WEIGHTS} is not readable; copy it again") from error
    if weights.stat().st_size < complete:
        raise UserError(f"{where}: {ADAPTER_WEIGHTS} is cut short; copy it again")
    return _settings(folder / ADAPTER_CONFIG, where)


def _settings(file: Path, where: str) -> LoraSettings:
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kind = str(config["peft_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{where}: {ADAPTER_CONFIG} is no adapter's (a JSON object with 'peft_type')"
        ) from error
    merge = "merge it with PEFT (merge_and_unload) and give the merged folder as the model's 'path'"
    if kind != "LORA":
        raise UserError(f"{where} is of the kind {kind}, and only LORA is merged here; {merge}")
    if config.get("use_dora"):
        raise UserError(f"{where} is a DoRA adapter (use_dora), which is not merged here; {merge}")
    start = config.get("init_lora_weights")
    if start not in PLAIN_STARTS:
        raise UserError(
            f"{where} began with init_lora_weights '{start}', which also changes the base model's "
            f"weights; {merge}"
        )
    unknown = sorted(key for key, value in config.items() if key not in KNOWN and value)
    if unknown:
        raise UserError(
            f"{where} has the option {unknown[0]}, which the merge here does not know; {merge}"
        )
    try:
        settings = LoraSettings(
            rank=int(config["r"]),
            alpha=float(config["lora_alpha"]),
            ranks={k: int(v) for k, v in (config.get("rank_pattern") or {}).items()},
            alphas={k: float(v) for k, v in (config.get("alpha_pattern") or {}).items()},
            rank_stabilised=bool(config.get("use_rslora")),
            base=str(config.get("base_model_name_or_path") or "unknown"),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where}: {ADAPTER_CONFIG} lacks a rank 'r' or 'lora_alpha' ({error})"
        ) from error
    if min([settings.rank, *settings.ranks.values()]) < 1:
        raise UserError(f"{where}: {ADAPTER_CONFIG} has a rank below 1")
    return settings


def _pattern(patterns: dict[str, Any], module: str) -> str:
    """The first pattern that matches the end of a module's name, as PEFT looks it up."""
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", module)), module)
