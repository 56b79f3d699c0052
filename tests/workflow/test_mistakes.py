"""A user's mistake ends the real command line with one sentence, before any job."""

import pytest

from tests.tiny import save_tiny_model
from tests.workflow.project import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = Project.copy(tmp_path_factory.mktemp("mistakes"))
    (made.folder / "texts.csv").write_text("text,toxic,mood\nhello,0,sad\ngo away,1,glad\n")
    (made.folder / "empty.csv").write_text("text,toxic\n")
    save_tiny_model(made.folder / "tiny-model")
    return made


def said(project, text):
    """The lines that Snakemake prints about a configuration, besides naming its profile."""
    (project.folder / "tiny.yaml").write_text(text)
    done = project.snakemake()
    assert done.returncode == 1
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if not line.startswith("Using workflow specific profile")]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("toxicty: {}", ["tiny.yaml", "'toxicty'", "did you mean 'toxicity'"]),
        ("seed: 1\nseed: 2", ["tiny.yaml", "line 2", "'seed'", "twice"]),
        ("seed: 1\nmodels: [\n", ["tiny.yaml", "line 3", "not valid YAML"]),
        ("seed: 010", ["tiny.yaml", "line 1", "010", "write 10"]),
        ("compute: {device: gpu}", ["tiny.yaml", "'compute.device'", "cuda"]),
        ("models: [{name: m, path: nowhere}]", ["tiny.yaml", "'m'", "nowhere"]),
        ("studies: [facts]\ndatasets: []", ["tiny.yaml", "'facts.relations[0].relation'"]),
        (
            "studies: [toxicity]\ngeometry: {prompts: {scorers: []}}\n"
            "datasets: [{name: d, path: nowhere.csv, labels: [toxic]}]",
            ["tiny.yaml", "datasets[0]", "'d'", "nowhere.csv"],
        ),
        (
            "studies: [toxicity]\ngeometry: {prompts: {scorers: []}}\n"
            "datasets: [{name: d, path: texts.csv, labels: [toxicc]}]",
            ["tiny.yaml", "datasets[0]", "texts.csv", "'toxicc'", "toxic"],
        ),
        (
            "studies: [toxicity]\ngeometry: {prompts: {scorers: []}}\n"
            "datasets: [{name: d, path: texts.csv, labels: [mood]}]",
            ["tiny.yaml", "texts.csv", "'mood'", "sad"],
        ),
        (
            "studies: [toxicity]\ngeometry: {prompts: {scorers: []}}\n"
            "datasets: [{name: d, path: empty.csv, labels: [toxic]}]",
            ["tiny.yaml", "empty.csv"],
        ),
        (
            "studies: [toxicity]\ngeometry: {prompts: {scorers: []}}\n"
            "datasets: [{name: d, path: texts.csv, labels: [off]}]",
            ["tiny.yaml", "'datasets[0].labels[0]' is false", "quotes"],
        ),
        *(
            (
                "models: [{name: mine, path: tiny-model}]\n"
                "datasets: [{name: capitals, kind: relation, builtin: capitals}]\n" + text,
                ["tiny.yaml", f"'{key}' ", "'mine'", "layers"],
            )
            for key, text in {
                "patching.layers": "studies: [patching]\npatching: {layers: [0, 3]}",
                "neurons.clamping.targets[0].neuron.layer": "studies: [neurons]\n"
                "neurons: {clamping: {targets: [{concept: dog, prompt: My, "
                "neuron: {layer: 3, neuron: 0}}]}}",
            }.items()
        ),
    ],
)
def test_is_one_sentence_that_names_file_key_and_value(project, text, parts):
    lines = said(project, text)
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    for part in parts:
        assert part in lines[0]
    assert not (project.folder / "results").exists()
    assert not (project.folder / "logs").exists()


def test_a_file_of_the_user_replaces_the_default_file(project):
    """No merging: the default models and data are not added to the user's own."""
    (project.folder / "tiny.yaml").write_text("seed: 1\nmodels: [{name: mine, path: nowhere}]")
    lines = said(project, "seed: 1\nmodels: [{name: mine, path: nowhere}]\nstudies: [facts]")
    assert "smollm2" not in "".join(lines)


@pytest.mark.parametrize("folder", ["a{b}", "{dataset}", "ä *[1]"])
def test_braces_and_stars_in_a_path_are_characters(project, folder):
    """Snakemake's own wildcards are braces, and its patterns stars."""
    (project.folder / folder).mkdir()
    rows = "".join(f"text {n},{n % 2}\n" for n in range(12))
    (project.folder / folder / "r.csv").write_text(f"text,ok\n{rows}")
    (project.folder / "tiny.yaml").write_text(
        "studies: [toxicity]\ngeometry: {prompts: {scorers: []}}\n"
        "models: [{name: mine, path: tiny-model}]\n"
        f"datasets: [{{name: d, path: '{folder}/r.csv', labels: [ok]}}]"
    )
    planned = project.planned("results/data/d.parquet")
    assert planned == {"build_dataset": 1}
    project.run("results/data/d.parquet")
    assert project.planned("results/data/d.parquet") == {}
