"""Faults of the driver, of its disk and of its tracking server: processes of `dfmf fuse`, gone on with by
`--resume`."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.driver import Driver
from benchmarks.fault_table.row import Case, Row
from orchestrator.cluster import ROOT

Run = Callable[[], Row]
ITERATIONS, EVERY, M_S = 48, 8, 10
FILES = (
    "student.safetensors",
    *(
        f"parties/party-{party}/{role}.safetensors"
        for party in (0, 1)
        for role in ("generator", "assistant", "vid")
    ),
)
RECIPE = {"epochs": 3, "milestones": [2], "batch_size": 64, "crop_padding": 0, "flip": 0}
CONFIG: dict[str, Any] = {
    "name": "one",
    "student": "resnet8-w8",
    "data": {"source": "digits"},
    "pretrain": {"networks": ["resnet8-w8"], "split": "imbalanced", "r": 10, "recipe": RECIPE},
    "schedule": {"warmup_epochs": 2, "epochs": 4, "iterations_per_epoch": 12, "batch_size": 64},
    "generator": {"width": 32, "latent_dim": 32},
    "engine": {"mode": "local"},
    "checkpoint": {"every_iterations": EVERY},
    "tracking": {"enabled": False},
}


def begin(folder: Path, *prefix: str, **changes: Any) -> tuple[Path, Driver]:
    """A new run in a new folder."""
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump({**CONFIG, "output": str(folder / "runs"), **changes}))
    return folder / "runs" / "one", Driver(folder, "run.yaml", prefix=prefix)


def newest(run: Path) -> int:
    """Number of the newest checkpoint; 0 without any."""
    return max(
        (int(path.parent.name[-8:]) for path in run.glob("checkpoints/[!.]*/MANIFEST.json")), default=0
    )


def same(run: Path, reference: Path) -> bool:
    """Whether two runs left the same bits."""
    return all((run / name).read_bytes() == (reference / name).read_bytes() for name in FILES)


def resume(run: Path, *overrides: str) -> tuple[int, str, float | None]:
    """Go on: exit code, output, and seconds until there was a checkpoint that there had not been."""
    before = newest(run)
    driver, further = Driver(run.parent, "--resume", str(run), *overrides), None
    while driver.process.poll() is None:
        if further is None and (newest(run) > before or (run / "MODEL_CARD.md").exists()):
            further = time.monotonic() - driver.started
        time.sleep(0.02)
    code, output, errors = driver.end()
    return code, output + errors, further


def row(name: str, run: Path, reference: Path, codes: list[int], **more: Any) -> Row:
    """What came of it."""
    summary = json.loads((run / "summary.json").read_bytes())
    return Row(
        name=name,
        injected=more.pop("injected", 1),
        ended=int(codes[-1] == 0 and summary["status"] == "finished"),
        bit_equal=same(run, reference),
        lost=(ITERATIONS - summary["iterations"]) * M_S,
        **more,
    )


def hit(
    name: str,
    folder: Path,
    reference: Callable[[], Path],
    when: Callable[[Path], bool],
    signals: tuple[int, ...],
    expected: int,
    overrides: tuple[str, ...] = (),
    damage: Callable[[Path], None] = lambda _: None,
    **changes: Any,
) -> Row:
    """Stop a driver, perhaps damage what it left, and go on."""
    undisturbed = reference()
    run, driver = begin(folder / re.sub(r"\W+", "-", name), **changes)
    driver.wait_until(lambda: when(run))
    struck = time.monotonic()
    code, *output = driver.end(*signals)
    stopped = time.monotonic() - struck if expected > 0 else None
    if code != expected:
        raise RuntimeError(f"{name}: exit {code}, not {expected}: {output}")
    damage(run)
    code, output, recovered = resume(run, *overrides)
    if code != 0:
        raise RuntimeError(f"{name}: {output}")
    started = re.search(r"going on from iteration (\d+)", output)
    return row(
        name,
        run,
        undisturbed,
        [code],
        detect_s=stopped,
        recover_s=recovered,
        note=started[0] if started else "",
    )


def flip(run: Path) -> None:
    """One bit of the newest checkpoint."""
    path = run / "checkpoints" / f"checkpoint-{newest(run):08d}" / "party-0.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(run: Path) -> None:
    """Half of the newest checkpoint's manifest."""
    path = run / "checkpoints" / f"checkpoint-{newest(run):08d}" / "MANIFEST.json"
    os.truncate(path, path.stat().st_size // 2)


def full_disk(name: str, folder: Path, reference: Callable[[], Path]) -> Row:
    """The disk for the checkpoints has room for none after the first few."""
    undisturbed = reference()
    place = folder / "full" / "disk"
    script = f'mkdir -p {place} && mount -t tmpfs -o size=1200k none {place} && exec "$@"'
    run, driver = begin(
        folder / "full",
        "unshare",
        "-rm",
        "sh",
        "-c",
        script,
        "sh",
        checkpoint={**CONFIG["checkpoint"], "to": str(place)},
    )
    code, *output = driver.end()
    failed = "".join(output).count("No space left on device")
    if failed == 0:
        raise RuntimeError(f"{name}: the disk never was full: {output}")
    return row(name, run, undisturbed, [code], injected=failed)


def two_drivers(name: str, folder: Path, reference: Callable[[], Path]) -> Row:
    """The second is refused, the first goes on."""
    undisturbed = reference()
    run, driver = begin(folder / "two")
    driver.wait_until(run.exists)
    struck = time.monotonic()
    second, *output = Driver(folder, "--resume", str(run)).end()
    detected = time.monotonic() - struck
    if second != 2 or "is in use by" not in "".join(output):
        raise RuntimeError(f"{name}: {output}")
    return row(name, run, undisturbed, [driver.end()[0]], detect_s=detected)


def gcs_killed(name: str, folder: Path, reference: Callable[[], Path]) -> Row:
    """The head's memory of the cluster goes; the driver ends when Ray gives up, here after 5 s."""
    undisturbed, patience = reference(), "RAY_gcs_rpc_server_reconnect_timeout_s"
    os.environ[patience] = "5"
    try:
        run, driver = begin(folder / "gcs", engine={"mode": "ray"})
    finally:
        del os.environ[patience]
    driver.wait_until(lambda: newest(run) >= 3)
    family = psutil.Process(driver.process.pid).children(recursive=True)
    next(one for one in family if "gcs_server" in one.name()).kill()
    struck = time.monotonic()
    code, *output = driver.end()
    ended = time.monotonic() - struck
    if code == 0:
        raise RuntimeError(f"{name}: the driver went on: {output}")
    code, output, recovered = resume(run)
    return row(name, run, undisturbed, [code], detect_s=ended, recover_s=recovered)


def saver_killed(name: str, folder: Path, kills: int = 20) -> Row:
    """A process that saves without pause; whenever it is killed, the newest checkpoint must be whole."""
    place, least, whole = folder / "saver", 0, 0
    for number in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(place)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.03 * (number % 7) + 0.01 * number)
        process.kill()
        process.wait()
        loaded = subprocess.run(
            [sys.executable, "-c", LOADER, str(place)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        reached = int(loaded.stdout)
        whole += reached >= least
        least = reached
    return Row(
        name=name, injected=kills, ended=whole, runs=kills, bit_equal=None, note=f"after {least} saves"
    )


SAVER = """
import sys, torch
from orchestrator.checkpoints import Checkpoints
from orchestrator.snapshot import PartySnapshot, Snapshot
from orchestrator.storage import open_storage
kept = Checkpoints(open_storage(sys.argv[1]), 2, {}, print)
start = kept.load().iterations
print("ready", flush=True)
for number in range(start + 1, 10**9):
    state = {"weight": torch.full((1024, 1024), float(number))}
    kept.save(Snapshot(iterations=number, student=state, parties={0: PartySnapshot(warmup_steps=0,
    iterations=number, state=state)}))
"""
LOADER = """
import sys
from orchestrator.checkpoints import Checkpoints
from orchestrator.storage import open_storage
said = []
snapshot = Checkpoints(open_storage(sys.argv[1]), 2, {}, said.append).load()
assert not said, said
assert snapshot.student is None or bool((snapshot.student["weight"] == snapshot.iterations).all())
print(snapshot.iterations)
"""


def cases(folder: Path) -> list[Case]:
    """All of them; `folder` takes what they write."""

    @functools.cache
    def reference() -> Path:
        run, driver = begin(folder / "reference")
        code, *output = driver.end()
        if code != 0:
            raise RuntimeError(output)
        return run

    def at(number: int) -> Callable[[Path], bool]:
        return lambda run: newest(run) >= number

    def pretrained(run: Path) -> bool:
        return (run / "teachers" / "party-0.json").exists()

    kill, interrupt, terminate = (signal.SIGKILL,), (signal.SIGINT,), (signal.SIGTERM,)
    ray = {"engine": {"mode": "ray", "prefetch": 2}}
    hits: list[tuple[str, Any, tuple[int, ...], int, dict[str, Any]]] = [
        ("driver killed while it pretrains", pretrained, kill, -9, {}),
        ("driver killed in the warm-up", at(1), kill, -9, {}),
        ("driver killed early in the main phase", at(3), kill, -9, {}),
        ("driver killed late in the main phase", at(6), kill, -9, {}),
        (
            "driver on Ray killed, gone on in one process",
            at(3),
            kill,
            -9,
            {**ray, "overrides": ("engine.mode=local",)},
        ),
        (
            "driver in one process killed, gone on on Ray",
            at(3),
            kill,
            -9,
            {"overrides": ("engine.mode=ray",)},
        ),
        ("SIGTERM (ray job stop, pre-emption)", at(4), terminate, 143, {}),
        ("SIGTERM on Ray", at(3), terminate, 143, ray),
        ("Ctrl-C", at(4), interrupt, 130, {}),
        ("Ctrl-C twice", at(4), interrupt * 2, 130, {}),
        ("newest checkpoint: one bit flipped", at(5), kill, -9, {"damage": flip}),
        ("newest checkpoint: manifest cut off", at(5), kill, -9, {"damage": cut}),
    ]
    made: list[Case] = [
        (name, functools.partial(hit, name, folder, reference, when, signals, code, **more))
        for name, when, signals, code, more in hits
    ]
    others: dict[str, Callable[..., Row]] = {
        "disk full while checkpointing": functools.partial(full_disk, folder=folder, reference=reference),
        "two drivers on one folder": functools.partial(two_drivers, folder=folder, reference=reference),
        "head's GCS killed": functools.partial(gcs_killed, folder=folder, reference=reference),
        "killed while it saves": functools.partial(saver_killed, folder=folder),
    }
    return [*made, *((name, functools.partial(run, name)) for name, run in others.items())]
