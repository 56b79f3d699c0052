"""A chat is what the configuration says: system prompt, arguments, and a date that stands still."""

import datetime

import pytest
from llm_anatomy.config.load import load_configuration
from llm_anatomy.config.models import Chat
from llm_anatomy.errors import UserError
from llm_anatomy.figures.chat import chat_sentence, with_chat
from llm_anatomy.figures.exhibit import Exhibit
from llm_anatomy.model.run import prompts
from llm_anatomy.model.run.prompts import chat_arguments, chat_ids, chat_provenance, has_chat
from llm_anatomy.neurons.favourite import question_ids

from tests.tiny import tiny_tokenizer

TURNS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
TODAY = "Today: {{ strftime_now('%d %B %Y') }}\n" + TURNS
LLAMA = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}"
    "{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}"
    "Today Date: {{ date_string }}\n" + TURNS
)
THINKS = (
    TURNS + "assistant:{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}"
)
ALWAYS = TURNS + "assistant:<think>\n"
GRANITE = TURNS + "{% if thinking %}Think.{% endif %}"
USER_ONLY = "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + TURNS
)


def asked(template, chat=None, message="Hi"):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer.decode(chat_ids(tokenizer, message, chat or Chat()))


@pytest.mark.parametrize(("template", "month"), [(TODAY, "January"), (LLAMA, "Jan")])
def test_the_date_is_the_configurations(template, month):
    assert f"01 {month} 2025" in asked(template)
    later = Chat(date=datetime.date(2031, 12, 24))
    assert "24 Dec" in asked(template, later)
    assert "2031" in asked(template, later)
    # Asked again with the first one, it is not the date of the last call.
    assert f"01 {month} 2025" in asked(template)


def test_a_date_of_the_arguments_goes_first():
    chat = Chat(template_arguments={"date_string": "1 May 1999"})
    assert asked(LLAMA, chat).startswith("Today Date: 1 May 1999\n")


def test_thinking_is_off_where_the_template_knows_it():
    assert asked(THINKS).endswith("<think>\n\n</think>\n\n")
    assert asked(THINKS, Chat(template_arguments={"enable_thinking": True})).endswith("assistant:")
    assert "Think." not in asked(GRANITE)
    assert asked(GRANITE, Chat(template_arguments={"thinking": True})).endswith("Think.")
    assert asked(TURNS) == "user: Hi\n"


def test_the_system_prompt_comes_first():
    assert asked(TURNS, Chat(system_prompt="Be brief.")) == "system: Be brief.\nuser: Hi\n"
    assert asked(NO_SYSTEM) == "user: Hi\n"


@pytest.mark.parametrize(
    ("template", "chat", "parts"),
    [
        (NO_SYSTEM, Chat(system_prompt="Be brief."), ["System role not supported"]),
        ("{{ raise_exception('Conversations end') }}", Chat(), ["Conversations end"]),
        ("a\n{% for m in messages %}{{ m.content }}", Chat(), ["endfor", "line 2"]),
        ("{{ messages[0].content }}{% endif %}", Chat(), ["endif", "line 1"]),
        ("{{ messages[0].content.parts.first.text }}", Chat(), ["no attribute 'parts'"]),
        ("{{ messages[0].content | unheard }}", Chat(), ["unheard"]),
        ("{{ messages[7].content.x }}", Chat(), ["no element 7"]),
        ("{{ 1 // 0 }}", Chat(), ["zero"]),
        (USER_ONLY, Chat(system_prompt="Be brief."), ["leaves out", "chat.system_prompt"]),
        ("Hello!", Chat(), ["leaves out the user's message"]),
        (THINKS, Chat(template_arguments={"enable_thinkin": True}), ["'enable_thinkin'", "knows"]),
    ],
)
def test_a_template_that_cannot_be_used_is_one_sentence(template, chat, parts):
    with pytest.raises(UserError) as caught:
        asked(template, chat)
    for part in ["chat template cannot be used", "'template: false'", *parts]:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_named_templates_without_a_default_are_one_sentence():
    with pytest.raises(UserError, match="chat template cannot be used"):
        asked({"tools": TURNS, "other": TURNS})
    assert asked({"default": TURNS, "tool_use": TODAY}) == "user: Hi\n"


def test_a_model_can_be_asked_without_its_template():
    tokenizer, without = tiny_tokenizer(), Chat(template=False)
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    assert not has_chat(tokenizer, without)
    ids = question_ids(tokenizer, "Who?", without)
    assert tokenizer.decode(ids) == "Question: Who?\nAnswer:"
    assert chat_provenance(tokenizer, without) == {}


def test_tables_say_how_a_model_was_asked():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = THINKS
    record = chat_provenance(tokenizer, Chat(system_prompt="Be brief."))
    assert record["template_arguments"] == {"enable_thinking": False}
    assert record["system_prompt"] == "Be brief."
    # The template writes no date.
    assert record["date"] is None
    assert record["open_thought"] is False
    assert len(record["template_sha256"]) == 64
    tokenizer.chat_template = LLAMA
    assert chat_provenance(tokenizer, Chat())["date"] == "2025-01-01"
    tokenizer.chat_template = ALWAYS
    assert chat_provenance(tokenizer, Chat())["open_thought"] is True


def test_captions_say_how_a_model_was_asked():
    record = {
        "system_prompt": "Be brief.",
        "template_arguments": {"enable_thinking": False},
        "date": "2025-01-01",
        "open_thought": True,
    }
    assert chat_sentence(record) == (
        "In the chat template the system prompt is 'Be brief.', enable_thinking is false, the date "
        "is 2025-01-01. The template opens a thought: answers are its beginning."
    )
    assert chat_sentence({}) == "No chat template is used."
    bare = {"system_prompt": None, "template_arguments": {}, "date": None, "open_thought": False}
    shown = with_chat(Exhibit("t", "One.\n\nTwo.", rows=()), {"chat": bare})
    assert shown.caption == "One. In the chat template no system prompt is added.\n\nTwo."


def test_the_configuration_has_a_chat_for_every_model():
    values = {
        "models": [
            {"name": "a", "path": "a", "chat": {"system_prompt": "Hi", "date": "2020-02-29"}},
            {"name": "b", "path": "b"},
        ],
        "neurons": {"fine_tune": {"model": "a"}},
    }
    configuration = load_configuration(values, "mine.yaml")
    assert configuration.chat("a").date == datetime.date(2020, 2, 29)
    assert configuration.chat("a-tuned").system_prompt == "Hi"
    assert configuration.chat("b") == Chat()
    with pytest.raises(UserError, match=r"models\[0\].chat.date"):
        load_configuration({"models": [{"name": "a", "path": "a", "chat": {"date": "soon"}}]}, "m")


def test_what_a_template_knows_is_asked_of_the_template():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% set thinking_now = 1 %}{{ bos_token }}" + TURNS
    assert chat_arguments(tokenizer, Chat()) == {}
    assert prompts.THINKING == ("enable_thinking", "thinking")
