"""Parts of an MLP, as settings name them."""

from typing import Literal

Matrix = Literal["up", "gate", "down"]
Site = Literal["up", "gate", "activation"]
