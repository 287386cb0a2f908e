"""The files of runs and sweeps, as far as a comparison reads them: checked, and damage told in one line."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fusion.untrusted import Refused, one_line, parse_json, read_file
from orchestrator.errors import user_error

LARGEST = 64 * 2**20
Line: TypeAlias = Annotated[str, AfterValidator(one_line)]
"""A text that is shown: it neither ends a line nor steers a terminal."""
Content = TypeVar("Content", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class Score(_Part):
    """Accuracies in percent; None without test images."""

    accuracy: float | None
    per_class: list[float | None] | None = None
    per_subset: list[float | None] | None = None


class TeacherScore(Score):
    """One of the fused."""

    name: Line
    sha256: str


class StudentScore(Score):
    """The result."""

    agreement: float | None = None
    """With the teachers' ensemble, in percent."""
    agreement_on: Line = "nothing"


class Summary(_Part):
    """summary.json."""

    teachers: list[TeacherScore] = Field(min_length=1)
    ensemble: Score
    gold_standard: Score | None = None
    student: StudentScore | None = None
    """None where teachers were only pretrained."""
    gap_closed: float | None = None
    seconds: float
    seconds_to_first_iteration: float | None = None
    """Of them: pretraining and warm-up, unless another run had done these."""
    seed: int
    status: Line

    @property
    def main_phase_seconds(self) -> float:
        """From the first iteration to the end of the run; all seconds where older runs do not say when that
        was."""
        return self.seconds - (self.seconds_to_first_iteration or 0.0)


class TransferSetFile(_Part):
    """transfer_set.json, as far as it is read."""

    hausdorff: dict[str, float | None]
    """By teacher."""


class Parameter(_Part):
    """One of a sweep's dimensions."""

    label: Line
    scale: Literal["linear", "log"] = "linear"


class Trial(_Part):
    """One run of a sweep."""

    name: Line
    parameters: dict[str, Any]
    seed: int
    folder: str
    """Within the sweep's."""
    status: Literal["finished", "failed", "stopped early", "running", "waiting"]
    reason: Line | None = None


class SweepFile(_Part):
    """sweep.json."""

    version: Literal[1] = Field(alias="schema")
    name: Line
    parameters: dict[str, Parameter]
    trials: list[Trial]


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        UserError: it does not, or cannot be read.
    """
    try:
        content = parse_json(read_file(path, at_most=LARGEST, what="such a file"))
    except Refused as error:
        raise user_error(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise user_error(f"{path}: is damaged (no object)")
    return content


def read_model(path: Path, kind: type[Content]) -> Content:
    """The content of a JSON file as `kind` has it.

    Raises:
        UserError: it cannot be read, or something in it is not as it must be.
    """
    content = read_object(path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"][:1].lower() + first["msg"][1:]
        raise user_error(f"{path}: is damaged ({place}: {message})") from error
