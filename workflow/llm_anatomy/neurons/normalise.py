"""What a weight vector goes through before the LM head; the top token depends on it."""

import torch
from jaxtyping import Float
from torch import Tensor

from llm_anatomy.config.neurons import Matrix, Normalisation
from llm_anatomy.neurons.weights import ModelWeights


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
