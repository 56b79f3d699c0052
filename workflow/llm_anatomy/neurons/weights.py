"""Neuron weights straight from the safetensors files: no model is built, one matrix at a time.

What a weight vector goes through before the LM head is here too; the top token depends on it.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llm_anatomy.artefacts.remake import remake_command
from llm_anatomy.config.neurons import Matrix, Normalisation
from llm_anatomy.errors import UserError
from llm_anatomy.model.source.shards import tensor_files


class ModelWeights:
    """The weight vectors of a prepared model, read on demand.

    Args:
        folder: `results/models/{model}`, with `architecture.json` and `weights/`.
        device: Where tensors go, straight from the file.

    Raises:
        UserError: A file or shard is missing.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder, self.device = folder / "weights", device
        description = folder / "architecture.json"
        if not description.exists():
            raise UserError(
                f"{description} is missing; it is made by the rule prepare_model; remake it with: "
                f"{remake_command('prepare_model', description)}"
            )
        self.architecture: dict[str, Any] = json.loads(description.read_text(encoding="utf-8"))
        self.files = tensor_files(self.folder)

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return int(self.architecture["n_layers"])

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.architecture["d_model"])

    def has(self, matrix: str) -> bool:
        """Whether the model's MLPs have this matrix; those without a gate lack `gate`.

        Raises:
            UserError: The layers have no MLP of the usual form, such as mixtures of experts.
        """
        layers = self.architecture["layers"]
        dense = [layer["up"] is not None for layer in layers]
        if not all(dense):
            reason = layers[dense.index(False)]["refusal"]
            raise UserError(
                f"{self.folder}: {reason}, whose neurons this study does not cover; choose a dense "
                "model, or leave the study out of `studies`"
            )
        return all(layer[matrix] is not None for layer in layers)

    def present(self, matrices: Sequence[Matrix]) -> list[Matrix]:
        """Those of some matrices that the model has; raises as `has`."""
        return [matrix for matrix in matrices if self.has(matrix)]

    def vectors(self, layer: int, matrix: str) -> Float[Tensor, "neurons d_model"]:
        """The weight vector of every neuron: rows of up and gate, columns of down; as stored.

        Raises:
            UserError: The tensor is missing, damaged, or not as wide as the residual stream.
        """
        part = self.architecture["layers"][layer][matrix]
        weight = self._projection(part)
        if matrix == "down":
            weight = weight.T
        self._check_width(part["tensor"], weight)
        return weight.contiguous()

    @cached_property
    def head(self) -> Float[Tensor, "vocab d_model"]:
        """Rows of the LM head U that have a token, tied to the embedding or not; as stored.

        One for each of `tokens`.

        Raises:
            UserError: The tensor is missing, damaged, or of another width.
        """
        part = self.architecture["head"]
        head = self._projection(part)
        self._check_width(part["tensor"], head)
        rows = self.architecture["token_rows"]
        # Without gaps a view, and no copy.
        return head[self.tokens] if self.architecture["tokenless"] else head[:rows]

    @cached_property
    def tokens(self) -> Int[Tensor, " vocab"]:
        """Ids of the tokens whose rows `head` has, growing."""
        known = torch.ones(self.architecture["token_rows"], dtype=torch.bool)
        known[self.architecture["tokenless"]] = False
        return known.nonzero()[:, 0]

    def places(self, tokens: Sequence[int]) -> list[int]:
        """Rows of `head` of some tokens."""
        places: list[int] = torch.searchsorted(self.tokens, torch.tensor(tokens)).tolist()
        return places

    def gain(self, norm: dict[str, Any] | None) -> Float[Tensor, " d_model"]:
        """Gain of a norm of the architecture description; ones where there is none."""
        if norm is None or norm["tensor"] is None:
            return torch.ones(self.d_model)
        return self._tensor(norm["tensor"]).float() + float(norm["offset"])

    def _projection(self, part: dict[str, Any]) -> Tensor:
        weight = self._tensor(part["tensor"])
        if part["transposed"]:
            weight = weight.T
        if part["rows"] is not None:
            start, stop = part["rows"]
            weight = weight[start:stop]
        return weight

    def _tensor(self, name: str) -> Tensor:
        if name not in self.files:
            raise UserError(
                f"{self.folder} holds no tensor '{name}', which the map reads from the files; if "
                "they hold it, prepare the model again"
            )
        self._check_alone(name)
        file = self.folder / self.files[name]
        try:
            with safe_open(file, framework="pt", device=self.device) as stored:
                tensor: Tensor = stored.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{file}: the tensor '{name}' cannot be read ({error})") from error
        if not tensor.is_floating_point():
            raise UserError(
                f"{file}: the tensor '{name}' is stored as {tensor.dtype}; the map reads dense "
                "weights, so give the model unquantised"
            )
        return tensor

    def _check_alone(self, name: str) -> None:
        """Refuse a weight beside which something lies that it is computed with."""
        module = name.rpartition(".")[0]
        beside = sorted(
            other
            for other in self.files
            if other.startswith(f"{module}.") and other not in {name, f"{module}.bias"}
        )
        if beside:
            raise UserError(
                f"{self.folder}: '{beside[0]}' lies beside the tensor '{name}', which alone is not "
                "what the model computes with; the map reads dense weights, so give the model "
                "unquantised and without adapters"
            )

    def _check_width(self, name: str, weight: Tensor) -> None:
        if weight.ndim != 2 or weight.shape[1] != self.d_model:
            raise UserError(
                f"{self.folder}: the tensor '{name}' has the shape {tuple(weight.shape)}, which "
                f"does not fit a residual stream of width {self.d_model}; the files of two models "
                "may be mixed"
            )


def normalise_vectors(
    vectors: Float[Tensor, "neurons d_model"],
    weights: ModelWeights,
    layer: int,
    matrix: Matrix,
    mode: Normalisation,
) -> Float[Tensor, "neurons d_model"]:
    """Weight vectors as they are decoded.

    `raw`: w. `final_gain`: w * g, g the gain of the final norm. `rms`: the final norm of w, all
    of it. `input_gain`: w * g, g the gain of the norm before the MLP, which makes a row of up or
    gate the direction it reads in the unnormalised stream; columns of down stay as they are.
    `cosine`: w / |w|.
    """
    architecture = weights.architecture
    if mode == "final_gain":
        return vectors * weights.gain(architecture["final_norm"]).to(vectors.device)
    if mode == "rms":
        norm = architecture["final_norm"]
        if norm["centred"]:
            vectors = vectors - vectors.mean(1, keepdim=True)
        scale = (vectors.square().mean(1, keepdim=True) + float(norm["eps"])).sqrt()
        return vectors / scale * weights.gain(norm).to(vectors.device)
    if mode == "input_gain" and matrix != "down":
        norm = architecture["layers"][layer]["mlp_norm"]
        return vectors * weights.gain(norm).to(vectors.device)
    if mode == "cosine":
        return torch.nn.functional.normalize(vectors, dim=1)
    return vectors


def normalise_head(
    head: Float[Tensor, "vocab d_model"], mode: Normalisation
) -> Float[Tensor, "vocab d_model"]:
    """The LM head as it is used: unit rows for `cosine`, else unchanged."""
    return torch.nn.functional.normalize(head, dim=1) if mode == "cosine" else head
