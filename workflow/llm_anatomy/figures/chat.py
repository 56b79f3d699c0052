"""How a model was asked in a chat, as captions say it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llm_anatomy.figures.exhibit import Exhibit


def with_chat(exhibit: Exhibit, provenance: Mapping[str, Any]) -> Exhibit:
    """An exhibit whose caption's first paragraph ends with how the model was asked.

    Args:
        exhibit: The exhibit.
        provenance: Of the table that it shows, with the key `chat` (`model.run.prompts`).
    """
    first, gap, rest = exhibit.caption.partition("\n\n")
    sentence = chat_sentence(provenance.get("chat", {}))
    return replace(exhibit, caption=f"{first} {sentence}{gap}{rest}")


def chat_sentence(record: Mapping[str, Any]) -> str:
    """How a model was asked; `record` is what `model.run.prompts.chat_provenance` made."""
    if not record:
        return "No chat template is used."
    system = record["system_prompt"]
    arguments = ", ".join(
        f"{name} is {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in sorted(record["template_arguments"].items())
    )
    parts = [
        f"the system prompt is '{system}'" if system else "no system prompt is added",
        *([arguments] if arguments else []),
        *([f"the date is {record['date']}"] if record["date"] else []),
    ]
    thought = (
        " The template opens a thought: answers are its beginning."
        if record["open_thought"]
        else ""
    )
    return f"In the chat template {', '.join(parts)}.{thought}"
