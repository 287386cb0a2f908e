"""A finished run's synthetic images as a data set: one Parquet file with encoded images and soft labels."""

import io
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from fusion.evaluation import logits_of
from fusion.synthesis import synthetic_images
from fusion.teachers import Teacher
from orchestrator.errors import user_error
from orchestrator.finished_runs import FinishedRun, read_run
from orchestrator.results import driver_device, ensemble_of
from orchestrator.run_folder import check_target

SUFFIX = ".parquet"
SOFT_LABELS = "soft_labels_"
"""Before a teacher's name: its column."""


def write_data_set(folder: Path, to: Path, count: int) -> str:
    """Write `count` images of the parties of the run in `folder`, about as many of each, as `to`; what was
    done, in a line. The same run gives the same bytes again. A batch at a time is held in memory. A bank of a
    method that inverts gives no more than it has.

    Raises:
        UserError: the run is not finished, or damaged; the file is there already, or
        cannot be written.
    """
    if to.suffix != SUFFIX:
        raise user_error(f"--out: {to}: must end in {SUFFIX}")
    check_target(to, "--out: ")
    if to.exists():
        raise user_error(f"--out: {to}: is there already; give another file")
    run = read_run(folder)
    teachers = run.teachers()
    batches = _batches(run, teachers, count)
    first = next(batches)  # What is wrong with the run is said before anything is written.
    temporary = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        written = _write(temporary, itertools.chain([first], batches), _schema(run, teachers))
        temporary.replace(to)
    except OSError as error:
        raise user_error(f"--out: {to}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return f"wrote {to}: {written} images of {len(teachers)} parties, {to.stat().st_size / 2**20:.1f} MiB"


def _batches(run: FinishedRun, teachers: Sequence[Teacher], count: int) -> Iterator[dict[str, list[Any]]]:
    """The file's columns, a batch of one party after another's, party by party in turn."""
    device, settings = driver_device(), run.settings
    space = settings.space(teachers)
    classifiers = [teacher.build().to(device) for teacher in teachers]
    shares = [(count + index) // len(teachers) for index in reversed(range(len(teachers)))]
    sources = [
        synthetic_images(index, state, teacher.spec, settings, share, device)
        for index, (state, teacher, share) in enumerate(
            zip(run.makers(teachers), teachers, shares, strict=True)
        )
    ]
    for step, turn in enumerate(itertools.zip_longest(*sources)):
        for teacher, images in zip(teachers, turn, strict=True):
            if images is None:
                continue
            logits = [logits_of(one, images, device) for one in classifiers]
            yield {
                "image": _encoded(images, f"{teacher.name}-{step:05d}"),
                "party": [teacher.name] * len(images),
                "label": ensemble_of(logits, settings, space).argmax(dim=1).tolist(),
                **{
                    SOFT_LABELS + one.name: torch.softmax(said, dim=1).tolist()
                    for one, said in zip(teachers, logits, strict=True)
                },
            }


def _encoded(images: Tensor, name: str) -> list[dict[str, Any]]:
    """Each image as PNG; grey ones with one channel."""
    found = []
    for index, image in enumerate(images):
        pixels = image.permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, format="PNG")
        found.append({"bytes": file.getvalue(), "path": f"{name}-{index:03d}.png"})
    return found


def _schema(run: FinishedRun, teachers: Sequence[Teacher]) -> Any:
    """With what Hugging Face `datasets` reads of the columns, and the classes of each teacher."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    soft = [SOFT_LABELS + one.name for one in teachers]
    fields = [("image", image), ("party", pa.string()), ("label", pa.int64())]
    fields += [(name, pa.list_(pa.float32())) for name in soft]
    classes = list(run.settings.space(teachers).classes)
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "party": {"dtype": "string", "_type": "Value"},
        "label": {"names": classes, "_type": "ClassLabel"},
    }
    features |= {
        name: {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"} for name in soft
    }
    metadata = {
        "huggingface": json.dumps({"info": {"features": features}}),
        "dfmf": json.dumps({"classes": {one.name: list(one.spec.classes) for one in teachers}}),
    }
    return pa.schema(fields, metadata=metadata)


def _write(path: Path, batches: Iterator[dict[str, list[Any]]], schema: Any) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            writer.write_table(pa.table(batch, schema=schema))
            written += len(batch["label"])
    return written
