"""What is written for other viewers has their fields, of their types, and says what tables say."""

import gzip
import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from llm_anatomy.cli.app import main
from llm_anatomy.config.contexts import Neighbours
from llm_anatomy.stages import find_neighbours
from llm_anatomy.tables.contexts import CONTEXTS, NEIGHBOURS
from llm_anatomy.tables.core import read_provenance, read_table, write_table
from llm_anatomy.tables.neurons import VOCABULARY

from tests.unit.neurons.conftest import prepare
from tests.unit.neurons.test_context_stages import found
from tests.unit.neurons.tools import PRECISION, make_map

TEXT, NUMBER, WHOLE, FLAG = ({"type": name} for name in ("string", "number", "integer", "boolean"))
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
CUID = {"type": "string", "pattern": "^c[0-9a-z]{24}$"}
INDEX = {"type": "string", "pattern": r"^\d+$"}


def listed(item: dict, least: int = 0) -> dict:
    return {"type": "array", "items": item, "minItems": least}


def shape(**fields: dict) -> dict:
    """An object with these fields and no other."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


ENDS = {
    "pos_str": listed(TEXT, 1),
    "pos_values": listed(NUMBER, 1),
    "neg_str": listed(TEXT, 1),
    "neg_values": listed(NUMBER, 1),
}
HISTOGRAMS = {
    f"{kind}_hist_data_bar_{part}": listed(NUMBER)
    for kind in ("freq", "logits")
    for part in ("heights", "values")
}
RELATED = {
    f"{kind}_{part}": listed(item)
    for kind, parts in {
        "neuron_alignment": {"indices": WHOLE, "values": NUMBER, "l1": NUMBER},
        "correlated_neurons": {"indices": WHOLE, "pearson": NUMBER, "l1": NUMBER},
        "correlated_features": {"indices": WHOLE, "pearson": NUMBER, "l1": NUMBER},
    }.items()
    for part, item in parts.items()
}
COMMON = {
    **ENDS,
    **HISTOGRAMS,
    **RELATED,
    "vector": listed(NUMBER, 32),
    "decoder_weights_dist": listed(NUMBER),
}
OWN = {"creatorId": TEXT, "createdAt": TIME}
FEATURE = shape(
    **COMMON,
    **OWN,
    modelId=TEXT,
    layer=TEXT,
    index=INDEX,
    sourceSetName=TEXT,
    maxActApprox=NUMBER,
    hasVector=FLAG,
    vectorLabel={"type": ["string", "null"]},
    vectorDefaultSteerStrength=NUMBER,
    hookName=TEXT,
    topkCosSimIndices=listed(WHOLE),
    topkCosSimValues=listed(NUMBER),
)
ACTIVATION = shape(
    **OWN,
    id=CUID,
    modelId=TEXT,
    layer=TEXT,
    index=INDEX,
    tokens=listed(TEXT, 1),
    values=listed(NUMBER, 1),
    maxValue=NUMBER,
    maxValueTokenIndex=WHOLE,
    minValue=NUMBER,
    binMin=NUMBER,
    binMax=NUMBER,
    binContains=NUMBER,
    qualifyingTokenIndex=WHOLE,
    dataSource=TEXT,
    dataIndex=TEXT,
)
BATCH = shape(
    model_id=TEXT,
    layer=WHOLE,
    sae_set=TEXT,
    sae_id_suffix=TEXT,
    features=listed(
        shape(
            **COMMON,
            feature_index=WHOLE,
            n_prompts_total=WHOLE,
            n_tokens_in_prompt=WHOLE,
            dataset=TEXT,
            activations=listed(
                shape(
                    bin_min=NUMBER,
                    bin_max=NUMBER,
                    bin_contains=NUMBER,
                    tokens=listed(TEXT, 1),
                    values=listed(NUMBER, 1),
                    qualifying_token_index=WHOLE,
                )
            ),
        ),
        1,
    ),
)
HEADS = {
    "release": {"name", "description", "visibility", "creatorId", "createdAt"},
    "model": {"id", "displayName", "layers", "neuronsPerLayer", "dimension", "instruct", "tlensId"},
    "sourceset": {"modelId", "name", "description", "creatorId", "createdAt"},
    "source": {
        "id", "modelId", "setName", "num_prompts", "num_tokens_in_prompt", "dataset", "hfRepoId",
        "hfFolderId", "visibility",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Path:
    """A folder with the results of a run on a tiny model."""
    folder = tmp_path_factory.mktemp("run")
    model = prepare(folder / "results/models/tiny")
    own = folder / "results/neurons/tiny"
    own.mkdir(parents=True)
    make_map(model, own, parts=1, top_k=3)
    contexts, activity = found(model, texts, folder)
    contexts.rename(own / "contexts.parquet")
    activity.rename(own / "activity.parquet")
    stage = find_neighbours.NeighbourStage(
        seed=0, precision=PRECISION, neighbours=Neighbours(count=2, tokens=150), datasets=["mine"]
    )
    find_neighbours.run(stage, model=model, texts=(texts,), neighbours=own / "neighbours.parquet")
    return folder


def lines(path: Path) -> list[dict]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.decode().splitlines()]


def exported(form: str, folder: Path, *layers: str) -> None:
    chosen = [word for layer in layers for word in ("--layer", layer)]
    with pytest.raises(SystemExit) as ended:
        main(["export", "--model", "tiny", "--form", form, "--to", str(folder), *chosen])
    assert ended.value.code == 0


def test_neuronpedia_lines(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    exported("neuronpedia", tmp_path, "0", "2")
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == ["0-mlp", "2-mlp"]
    folder = tmp_path / "tiny/2-mlp"
    for name, fields in HEADS.items():
        (head,) = lines(folder / f"{name}.jsonl")
        assert fields <= set(head), name
    features = lines(folder / "features/batch-0.jsonl.gz")
    for feature in features:
        jsonschema.validate(feature, FEATURE)
    assert [feature["index"] for feature in features] == [str(n) for n in range(48)]
    assert {feature["layer"] for feature in features} == {"2-mlp"}
    vocabulary = read_table(Path("results/neurons/tiny/vocabulary.parquet"), VOCABULARY)
    own = vocabulary.query("layer == 2 and neuron == 7 and matrix == 'down' and sign == -1")
    assert features[7]["neg_str"] == own["token"].fillna("").tolist()
    np.testing.assert_allclose(features[7]["neg_values"], own["logit"])
    close = read_table(Path("results/neurons/tiny/neighbours.parquet"), NEIGHBOURS)
    own = close.query("layer == 2 and neuron == 7 and measure == 'activation'")
    assert features[7]["correlated_neurons_indices"] == own["other_neuron"].tolist()
    activations = lines(folder / "activations/batch-0.jsonl.gz")
    for activation in activations:
        jsonschema.validate(activation, ACTIVATION)
        strongest = activation["maxValueTokenIndex"]
        assert activation["values"][strongest] == activation["maxValue"]
        # What SAEDashboard writes at the strongest texts.
        assert {activation[name] for name in ("binMin", "binMax", "binContains")} == {-1}
        assert len(activation["tokens"]) == len(activation["values"])
    contexts = read_table(Path("results/neurons/tiny/contexts.parquet"), CONTEXTS)
    contexts = contexts.query("layer == 2 and sign == 1")
    assert len(activations) == len(contexts)
    assert len({activation["id"] for activation in activations}) == len(contexts)
    first = activations[0]
    row = contexts.iloc[0]
    assert "".join(first["tokens"]) == row["before"] + row["token"] + row["after"]
    assert (first["dataSource"], first["dataIndex"]) == ("mine", row["text_id"])


def test_saedashboard_batches(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    monkeypatch.setattr("llm_anatomy.cli.export.BATCH", 20)
    exported("saedashboard", tmp_path)
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == ["0", "1", "2"]
    batches = [json.loads((tmp_path / f"tiny/1/batch-{n}.json").read_text()) for n in range(3)]
    for batch in batches:
        jsonschema.validate(batch, BATCH)
    indices = [[f["feature_index"] for f in batch["features"]] for batch in batches]
    assert indices == [list(range(20)), list(range(20, 40)), list(range(40, 48))]
    contexts = read_table(Path("results/neurons/tiny/contexts.parquet"), CONTEXTS)
    own = contexts.query("layer == 1 and neuron == 21 and sign == 1")
    feature = batches[1]["features"][1]
    assert len(feature["activations"]) == len(own)
    for activation, row in zip(feature["activations"], own.to_dict("records"), strict=True):
        at = activation["qualifying_token_index"]
        assert {activation[name] for name in ("bin_min", "bin_max", "bin_contains")} == {-1}
        assert activation["values"][at] == row["activation"]
        assert activation["tokens"][at] == row["token"]


def test_the_same_tables_give_the_same_bytes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    for folder in ("a", "b"):
        exported("neuronpedia", tmp_path / folder, "0")
    made = [
        {
            path.relative_to(tmp_path / f): path.read_bytes()
            for path in (tmp_path / f).rglob("*.*l*")
        }
        for f in ("a", "b")
    ]
    assert made[0] == made[1]
    assert len(made[0]) == 6


def test_mistakes_are_one_sentence(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run)
    for arguments, message in (
        (["--model", "tiny", "--layer", "9"], "the model 'tiny' has the layers 0 to 2"),
        (["--model", "other"], "architecture.json is missing"),
    ):
        with pytest.raises(SystemExit):
            main(["export", *arguments, "--form", "neuronpedia", "--to", str(tmp_path)])
        assert message in capsys.readouterr().err
    assert pd.Series(list(tmp_path.iterdir())).empty


@pytest.mark.parametrize("site", ["gate", "up"])
def test_contexts_of_another_tensor_are_not_exported_as_activations(
    site: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(run, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    path = Path("results/neurons/tiny/contexts.parquet")
    made = read_provenance(path)
    changed = made | {"contexts": made["contexts"] | {"site": site}}
    write_table(path, CONTEXTS, read_table(path, CONTEXTS), changed)
    with pytest.raises(SystemExit):
        main(["export", "--model", "tiny", "--form", "neuronpedia", "--to", str(tmp_path / "to")])
    said = capsys.readouterr().err
    assert f"contexts of the tensor '{site}'" in said
    assert "neurons.contexts.site" in said
    assert not (tmp_path / "to").exists()
