"""A fused student in the forms that other programs read, each checked against the student itself."""

import io
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from fusion.networks import Classifier
from fusion.seeding import random_stream
from fusion.teachers import SUFFIX, Teacher, card_path, save_teacher
from orchestrator.errors import UserError, user_error
from orchestrator.evaluating import load_classifier
from orchestrator.recording import STUDENT

Format: TypeAlias = Literal["safetensors", "torch-export"]
SUFFIXES: dict[Format, str] = {"safetensors": SUFFIX, "torch-export": ".pt2"}
TOLERANCE = 1e-5
"""Of the largest logit: compilers may order sums differently, which moves float32 by a few 1e-7 a layer."""
BATCHES = (1, 16)


class _Logits(nn.Module):
    """What leaves the house: images to logits, normalisation included."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images).logits
        return logits


def export(target: str, form: Format, to: Path | None = None) -> str:
    """Write the student of the run's folder `target` (or the classifier in a .safetensors file) as `to`, by
    default beside it; what was done, in a line.

    Raises:
        UserError: there is none, the file is there already, cannot be written, or says other things than the
        student.
    """
    path = Path(target)
    source = path / STUDENT if path.is_dir() else path
    teacher = load_classifier(source)
    to = to or source.with_name(f"exported-{source.stem}{SUFFIXES[form]}")
    if to.suffix != SUFFIXES[form]:
        raise user_error(f"--to: {to}: must end in {SUFFIXES[form]}")
    for one in (to, card_path(to)) if form == "safetensors" else (to,):
        if one.exists():
            raise user_error(f"{one}: is there already; give another file with --to")
    eager = _Logits(teacher.build()).eval()
    batches = [_images(teacher, count) for count in BATCHES]
    try:
        if form == "safetensors":
            save_teacher(teacher, to)
            difference = _difference(eager, _Logits(load_classifier(to).build()).eval(), batches)
        else:
            program = _program(eager, batches[-1])
            difference = _difference(eager, program.module(), batches)
            to.write_bytes(_bytes(program))
    except OSError as error:
        raise user_error(f"{to}: {error.strerror}") from error
    if difference > TOLERANCE:
        to.unlink()
        if form == "safetensors":
            card_path(to).unlink()
        raise UserError(
            f"{to}: was not kept: its logits differ from the student's by {difference:.1e} of the largest "
            f"one "
            f"(at most {TOLERANCE:.0e})"
        )
    return (
        f"wrote {to}; on random images its logits differ by at most {difference:.1e} of the largest one from "
        f"the student's (tolerance {TOLERANCE:.0e})"
    )


def _program(eager: nn.Module, images: Tensor) -> Any:
    """For any number of images."""
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(eager, (images,), dynamic_shapes={"images": {0: batch}})


def _bytes(program: Any) -> bytes:
    """As a file, which is so written by ourselves and fails as any other."""
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def _images(teacher: Teacher, count: int) -> Tensor:
    spec, stream = teacher.spec, random_stream(torch.device("cpu"), 0, "export")
    return torch.rand(count, spec.channels, spec.size, spec.size, generator=stream)


@torch.no_grad()
def _difference(eager: nn.Module, other: nn.Module, batches: list[Tensor]) -> float:
    worst = 0.0
    for images in batches:
        expected = eager(images)
        worst = max(
            worst, float((other(images) - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        )
    return worst
