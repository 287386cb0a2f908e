"""A fused student in the forms that other programs read, each checked against the student itself."""

import contextlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from fusion.networks import Classifier
from fusion.seeding import random_stream
from fusion.teachers import SUFFIX, Teacher, card_path, save_teacher
from orchestrator.errors import UserError, user_error
from orchestrator.evaluating import load_classifier
from orchestrator.recording import STUDENT
from orchestrator.run_folder import check_target, is_folder, write_bytes

Format: TypeAlias = Literal["safetensors", "torch-export", "onnx"]
SUFFIXES: dict[Format, str] = {"safetensors": SUFFIX, "torch-export": ".pt2", "onnx": ".onnx"}
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
        student; or the format's libraries are not installed.
    """
    path = Path(target)
    source = path / STUDENT if is_folder(path) else path
    teacher = load_classifier(source)
    to = to or source.with_name(f"exported-{source.stem}{SUFFIXES[form]}")
    if to.suffix != SUFFIXES[form]:
        raise user_error(f"--to: {to}: must end in {SUFFIXES[form]}")
    files = (to, card_path(to)) if form == "safetensors" else (to,)
    for one in files:
        check_target(one, "--to: ")
        if one.exists():
            raise user_error(f"{one}: is there already; give another file with --to")
    eager = _Logits(teacher.build()).eval()
    batches = [_images(teacher, count) for count in BATCHES]
    try:
        if form == "safetensors":
            save_teacher(teacher, to)
            difference = _difference(eager, _Logits(load_classifier(to).build()).eval(), batches)
        else:
            content, exported = (_onnx if form == "onnx" else _program)(eager, batches[-1])
            difference = _difference(eager, exported, batches)
            to.parent.stat()  # It is not made.
            write_bytes(to, content)
    except OSError as error:
        _discard(files)
        raise user_error(f"{to}: {error.strerror}") from error
    if not difference <= TOLERANCE:  # Of what is no number nothing is true.
        _discard(files)
        raise UserError(
            f"{to}: was not kept: its logits differ from the student's by {difference:.1e} of the largest "
            f"one (at most {TOLERANCE:.0e})"
        )
    return (
        f"wrote {to}; on random images its logits differ by at most {difference:.1e} of the largest one from "
        f"the student's (tolerance {TOLERANCE:.0e})"
    )


def _discard(files: Iterable[Path]) -> None:
    for one in files:
        with contextlib.suppress(OSError):
            one.unlink()


_Exported: TypeAlias = tuple[bytes, Callable[[Tensor], Tensor]]
"""What is written, and what it says of images."""


def _program(eager: nn.Module, images: Tensor) -> _Exported:
    program = torch.export.export(eager, (images,), dynamic_shapes=_any_number())
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue(), program.module()


def _onnx(eager: nn.Module, images: Tensor) -> _Exported:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - The exporter needs it.
    except ImportError as error:
        raise UserError(f"--format onnx: {error.name} is not installed: pip install 'dfmf[onnx]'") from error
    program = torch.onnx.export(
        eager,
        (images,),
        dynamic_shapes=_any_number(),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda batch: torch.from_numpy(session.run(["logits"], {"images": batch.numpy()})[0])


def _any_number() -> dict[str, dict[int, torch.export.Dim]]:
    return {"images": {0: torch.export.Dim("batch", min=1)}}


def _images(teacher: Teacher, count: int) -> Tensor:
    spec, stream = teacher.spec, random_stream(torch.device("cpu"), 0, "export")
    return torch.rand(count, spec.channels, spec.size, spec.size, generator=stream)


@torch.no_grad()
def _difference(eager: nn.Module, other: Callable[[Tensor], Tensor], batches: list[Tensor]) -> float:
    found = []
    for images in batches:
        expected = eager(images)
        found.append((other(images) - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    return float(torch.stack(found).max())  # Unlike Python's, this maximum is NaN if one of them is.
