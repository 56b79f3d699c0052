"""Prompts as token ids: raw text, and a user's turn in a model's chat template."""

import hashlib
from typing import Any

from llm_anatomy.config.models import Chat
from llm_anatomy.errors import UserError
from llm_anatomy.model.run.tokenizer import TextTokenizer

# Arguments by which templates of models that think leave it out.
THINKING = ("enable_thinking", "thinking")


def raw_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text, with the special tokens that the tokenizer puts around it."""
    ids: list[int] = tokenizer(text, add_special_tokens=True)["input_ids"]
    return ids


def has_chat(tokenizer: Any, chat: Chat) -> bool:
    """Whether a model is asked through its chat template."""
    return bool(chat.template and tokenizer.chat_template)


def chat_ids(tokenizer: Any, message: str, chat: Chat) -> list[int]:
    """Token ids of a user's message in the chat template, up to where the answer begins.

    Control tokens are those that the template writes; see `model.run.tokenizer`.

    Raises:
        UserError: The template cannot be used, or not with this system prompt or these arguments.
    """
    return TextTokenizer.of(tokenizer).chat(rendered_chat(tokenizer, message, chat))


def rendered_chat(tokenizer: Any, message: str, chat: Chat) -> str:
    """The text of a chat, in which the user's parts are guarded (`TextTokenizer.guard`).

    Raises:
        UserError: As in `chat_ids`.
    """
    reader = TextTokenizer.of(tokenizer)
    parts = {"user": reader.guard(message)}
    if chat.system_prompt is not None:
        parts = {"system": reader.guard(chat.system_prompt)} | parts
    arguments = chat_arguments(tokenizer, chat)
    # transformers keeps the compiled template, in which a function must be put, as it turns those
    # that it is handed to text.
    _compiled(tokenizer).globals["strftime_now"] = chat.date.strftime
    arguments = {"date_string": chat.date.strftime("%d %b %Y")} | arguments
    try:
        text: str = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in parts.items()],
            add_generation_prompt=True,
            tokenize=False,
            **arguments,
        )
    except Exception as error:  # A template is a program of its author's.
        raise _unusable(" ".join(str(error).split()) or type(error).__name__) from error
    for role, content in parts.items():
        if content.strip() not in text:
            key = "system prompt ('chat.system_prompt')" if role == "system" else "user's message"
            raise _unusable(f"it leaves out the {key}")
    return text


def chat_arguments(tokenizer: Any, chat: Chat) -> dict[str, Any]:
    """The arguments that a chat template is given: those configured, and no thinking.

    Raises:
        UserError: The template cannot be read, or does not know one of them.
    """
    known = _known_arguments(tokenizer)
    unknown = next((name for name in chat.template_arguments if name not in known), None)
    if unknown is not None:
        raise _unusable(
            f"it does not know the argument '{unknown}' of 'chat.template_arguments'; it knows "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    return {name: False for name in THINKING if name in known} | chat.template_arguments


def chat_provenance(tokenizer: Any, chat: Chat) -> dict[str, Any]:
    """What tables record of how a model was asked; empty where it has no chat template."""
    if not has_chat(tokenizer, chat):
        return {}
    template, known = _template(tokenizer), _known_arguments(tokenizer)
    dated = "strftime_now" in template or "date_string" in known
    return {
        "template_sha256": hashlib.sha256(template.encode()).hexdigest(),
        "system_prompt": chat.system_prompt,
        "template_arguments": chat_arguments(tokenizer, chat),
        "date": chat.date.isoformat() if dated else None,
        "open_thought": _opens_a_thought(tokenizer, chat),
    }


def _opens_a_thought(tokenizer: Any, chat: Chat) -> bool:
    return rendered_chat(tokenizer, "Hello", chat).rstrip().endswith(("<think>", "<thinking>"))


def _template(tokenizer: Any) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise _unusable(" ".join(str(error).split())) from error


def _known_arguments(tokenizer: Any) -> set[str]:
    """Variables that the template reads; those that it sets itself, too."""
    from jinja2 import nodes

    given = {"messages", "add_generation_prompt", "strftime_now", *tokenizer.special_tokens_map}
    environment = _compiled(tokenizer).environment
    names = environment.parse(_template(tokenizer)).find_all(nodes.Name)
    return {name.name for name in names if name.ctx == "load"} - given - set(environment.globals)


def _compiled(tokenizer: Any) -> Any:
    """The chat template as transformers has compiled it."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import _compile_jinja_template

    try:
        return _compile_jinja_template(_template(tokenizer))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise _unusable(f"{' '.join(str(error).split())}{where}") from error


def _unusable(reason: str) -> UserError:
    return UserError(
        f"the model's chat template cannot be used ({reason}); change 'chat' in the model's entry "
        "of 'models', where 'template: false' asks without the template, or mend the template"
    )
