"""What an iteration of each method takes, relative to DFMF's: the main phase in this process, without Ray.

    python -m benchmarks.methods --json methods.json

The methods take turns, and each ratio is of two numbers of the same round, so that a machine that gets slower
or faster changes no ratio. A turn is a whole number of the method's periods: `method.inversion_every`
iterations of a method that makes a batch of images only so often. All banks of images are full, as they are
after a
while. Teachers have random weights and every method its default settings. One thread. Updates and images are
those of an iteration, of all parties together; images are counted where they go forward through a network.
"""

import dataclasses
import math
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import make_settings, make_teachers, parser, print_table, write_json
from fusion.algorithm import fuse
from fusion.assembly import FusionSettings, build_party, build_student, student_spec
from fusion.bank import ImageBank
from fusion.method import Inverting, Method
from fusion.methods import METHODS
from fusion.party import Party
from fusion.seeding import random_stream
from fusion.student import Student
from fusion.teachers import Teacher

REFERENCE = "dfmf"
CPU = torch.device("cpu")


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--network", default="resnet8")
    options.add_argument("--size", type=int, default=8)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--parties", type=int, default=2)
    options.add_argument("--iterations", type=int, default=20, help="the least of a turn")
    options.add_argument("--repeats", type=int, default=3, help="turns of each method")
    options.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    given = options.parse_args()
    torch.set_num_threads(1)
    teachers = make_teachers(given.network, given.size, given.parties)
    names = list(dict.fromkeys((REFERENCE, *given.methods)))
    running = {}
    for name in names:
        method = METHODS[name]()
        turn = whole_periods(method, given.iterations)
        plan = make_settings(
            given.network, given.size, given.batch, epochs=given.repeats + 1, iterations_per_epoch=turn
        )
        running[name] = MainPhase(teachers, dataclasses.replace(plan, method=method))
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(given.repeats):
        for name, phase in running.items():
            turns[name].append(phase.turn())
    rows = [row_of(name, running[name], turns) for name in names]
    print(
        f"{given.network}, {given.size} px, B = {given.batch}, K = {given.parties}, one thread; median of "
        f"{given.repeats} turns\n"
    )
    head = ["method", "iterations a turn", "CPU s an iteration", "of DFMF's", "wall s", "of DFMF's"]
    head += ["generator updates", "teacher images", "student images", "assistant images"]
    print_table(head, [cells(row) for row in rows])
    write_json(given.json, {"settings": vars(given) | {"json": str(given.json)}, "methods": rows})


def period(method: Method) -> int:
    """Iterations after which a method does the same again."""
    return method.inversion_every if isinstance(method, Inverting) else 1


def whole_periods(method: Method, least: int) -> int:
    """The smallest multiple of its period that is at least this."""
    return math.ceil(least / period(method)) * period(method)


class Passing:
    """Counts the images that go forward through some classifiers."""

    def __init__(self, *classifiers: nn.Module) -> None:
        self.images = 0
        for one in classifiers:
            one.register_forward_hook(self._note)

    def _note(self, _module: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
        self.images += len(inputs[0])


class MainPhase:
    """A method's parties and student in their main phase, which is gone through a turn at a time."""

    def __init__(self, teachers: list[Teacher], settings: FusionSettings) -> None:
        """One iteration has been done, without an inversion where the method has others."""
        self.settings, self.method = settings, settings.method
        spec = student_spec(teachers)
        self.parties = [
            build_party(index, len(teachers), teacher, settings, CPU, spec)
            for index, teacher in enumerate(teachers)
        ]
        for party in self.parties:
            fill_bank(party)
        self._student = build_student(teachers, settings, CPU)
        self._turn, self._done = settings.schedule.iterations_per_epoch, period(self.method) - 1
        self._advance(1)
        self.passing = passing(self.parties, self._student)

    def turn(self) -> dict[str, float]:
        """CPU and wall seconds of an iteration, the mean over this turn."""
        cpu, wall = time.process_time(), time.perf_counter()
        self._advance(self._turn)
        spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        return {name: seconds / self._turn for name, seconds in spent.items()}

    def _advance(self, iterations: int) -> None:
        stop = self._done + iterations
        fuse(
            self.parties,
            self._student,
            dataclasses.replace(self.settings.schedule, epochs=1, iterations_per_epoch=stop),
            self._after,
            self._done,
        )
        self._done = stop

    def _after(self, _done: int) -> None:
        for party in self.parties:
            party.meter.take()
        self._student.meter.take()


def fill_bank(party: Party) -> None:
    """With noise, where there is a bank."""
    bank = party.modules().get("bank")
    if isinstance(bank, ImageBank):
        stream = random_stream(CPU, 0, "bank")
        bank.add(*(torch.rand(one.shape, generator=stream) for one in (bank.images, bank.features)))


def passing(parties: list[Party], student: Student) -> dict[str, Passing]:
    """Counters of what goes through the teachers, the student, wherever it is, and the assistants."""
    judges = [party.critic for party in parties if party.critic is not None]
    judged_by_student = student.method.critic == "student"
    return {
        "teacher": Passing(
            *(party.teacher for party in parties),
            *(party.watched_teacher for party in parties),
            *student.teachers,
        ),
        "student": Passing(student.classifier, *(judges if judged_by_student else [])),
        "assistant": Passing(*([] if judged_by_student else judges)),
    }


def row_of(name: str, phase: MainPhase, turns: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """What the table has of a method, and each turn's numbers."""
    row: dict[str, Any] = {"method": name, "iterations": phase.settings.schedule.iterations_per_epoch}
    for clock in ("cpu_s", "wall_s"):
        row[clock] = statistics.median(turn[clock] for turn in turns[name])
        pairs = zip(turns[name], turns[REFERENCE], strict=True)
        row[f"{clock}_ratio"] = statistics.median(one[clock] / other[clock] for one, other in pairs)
    row["generator_updates"] = phase.method.updates_per_iteration * len(phase.parties)
    iterations = row["iterations"] * len(turns[name])
    row |= {f"{who}_images": counter.images / iterations for who, counter in phase.passing.items()}
    return row | {"turns": turns[name]}


def cells(row: dict[str, Any]) -> list[object]:
    """What is printed of a row: all but the turns, and images without an exponent."""
    return [
        f"{value:.0f}" if name.endswith("_images") else value
        for name, value in row.items()
        if name != "turns"
    ]


if __name__ == "__main__":
    main()
