"""What is known about one job before it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llm_anatomy.config.base import CARD_BATCH_TOKENS, CPU_BATCH_TOKENS
from llm_anatomy.config.root import Configuration
from llm_anatomy.plan.needs import UnknownShapeError
from llm_anatomy.plan.shape import Shape


@dataclass(frozen=True)
class Job:
    """What is known about one job.

    Attributes:
        wildcards: The job's wildcards.
        configuration: The configuration of the run.
        shape: Sizes of its model; None where it has none or none is known.
        count_rows: Rows of a data set or relation by its name.
        count_tokens: Mean tokens of a text of a data set by its name, however long the model reads.
    """

    wildcards: Mapping[str, str]
    configuration: Configuration
    shape: Shape | None
    count_rows: Callable[[str], int]
    count_tokens: Callable[[str], float]

    @property
    def rows(self) -> int:
        """Rows of the job's data set, or of its task's."""
        name = self.wildcards.get("dataset", "")
        if "task" in self.wildcards:
            data = self.configuration.patching.task(self.wildcards["task"]).data
            name = "" if data is None else data[1]
        return self.count_rows(name)

    @property
    def text_tokens(self) -> float:
        """Mean tokens of a text of the job's data set, up to as many as are read of it."""
        longest = self.configuration.geometry.extraction.max_length
        return min(self.count_tokens(self.wildcards.get("dataset", "")), longest)

    @property
    def model(self) -> Shape:
        """The shape, for work that depends on it.

        Raises:
            UnknownShapeError: It is not known before the model has been prepared.
        """
        if self.shape is None:
            raise UnknownShapeError("the work of this job depends on the shape of its model")
        return self.shape

    @property
    def batch_tokens(self) -> int:
        """Most padded tokens in one forward pass."""
        compute = self.configuration.compute
        default = CPU_BATCH_TOKENS if compute.device == "cpu" else CARD_BATCH_TOKENS
        return compute.batch_tokens or default
