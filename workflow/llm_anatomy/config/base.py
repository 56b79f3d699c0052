"""What every settings class shares, and the settings that more than one study reads."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

# What happens to two spans that are exchanged and differ in length (`model.run.alignment`).
Unequal = Literal["skip_pair", "last_token", "pad_left_with_first"]


class Settings(BaseModel):
    """A validated, immutable group of settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
QUANTISED_BYTES = {"8bit": 1.0, "4bit": 0.5}


class Precision(Settings):
    """How numbers are computed. These settings change results, so they are rule parameters."""

    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Data type of the model's weights and activations."
    )
    quantisation: Literal["none", "8bit", "4bit"] = Field(
        "none",
        description="Weight quantisation through bitsandbytes, where it is installed: `8bit` is "
        "LLM.int8, which rounds activations too, by what else is in the batch; `4bit` is NF4.",
    )

    @property
    def activation_bytes(self) -> float:
        """Bytes of one activation."""
        return BYTES[self.dtype]

    @property
    def weight_bytes(self) -> float:
        """Bytes of one weight."""
        return QUANTISED_BYTES.get(self.quantisation, BYTES[self.dtype])


# Tokens of a forward pass where none are configured: on a processor, and at most on a card.
CPU_BATCH_TOKENS = 2048
CARD_BATCH_TOKENS = 16384


class Compute(Settings):
    """Where and how fast things run. These settings never change which rules are up to date."""

    device: str = Field(
        "cpu",
        description="`cpu`, `cuda` for a free CUDA card, or `cuda:N` for a certain one. A model "
        "runs on one device.",
    )
    threads: int = Field(
        1,
        ge=1,
        description="CPU threads of one model job; several jobs of one thread use the cores best.",
    )
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="Most padded tokens in one forward pass of the model; left out, 2048 on a "
        "processor, and on a card as many as fit a quarter of what the model leaves free of it, "
        "16384 at most.",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if re.fullmatch(r"cpu|cuda(:(0|[1-9]\d*))?", device):
            return device
        if device == "auto":
            raise ValueError(
                "a model is not spread over several cards: set 'cuda' for one card, and "
                "precision.dtype: bfloat16 or precision.quantisation: 4bit for a model that is too "
                "large for it"
            )
        other = " (Apple's mps is not supported)" if device.startswith("mps") else ""
        raise ValueError(
            f"there is no such device{other}: set 'cpu', 'cuda' for a free CUDA card, or 'cuda:0' "
            "for a card by its number"
        )
