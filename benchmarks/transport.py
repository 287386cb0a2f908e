"""What moving an iteration's images costs: object store against a copy of memory.

    python -m benchmarks.transport --megabytes 31.5

An actor makes arrays of this size, another reads them, as the parties and the student do; the time is that of
a call whose result is read, above that of a call that returns nothing.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
import torch

from benchmarks.common import parser, print_table, write_json
from orchestrator.cluster import cluster
from orchestrator.sections import EngineSettings


class Producer:
    """Gives the same block again and again, as one kind of object or another."""

    def __init__(self, numbers: int) -> None:
        self._array = np.random.default_rng(0).random(numbers, dtype=np.float32)
        self._tensor = torch.from_numpy(self._array.copy())

    def nothing(self) -> None:
        """The price of a call."""

    def array(self) -> Any:
        """What the parties do."""
        return self._array

    def tensor(self) -> Any:
        """A tensor, pickled by Ray's default."""
        return self._tensor


class Consumer:
    """Reads them."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def milliseconds(self, method: str, times: int) -> list[float]:
        """Of call and read, one by one."""
        found = []
        for _ in range(times):
            started = time.perf_counter()
            ray.get(getattr(self._producer, method).remote())
            found.append(1e3 * (time.perf_counter() - started))
        return found

    def copies(self) -> bool:
        """Whether reading the same array twice gives other memory."""
        call = self._producer.array.remote()
        first, second = ray.get(call), ray.get(call)
        return bool(first.__array_interface__["data"] != second.__array_interface__["data"])


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--megabytes", type=float, default=31.5)
    options.add_argument("--times", type=int, default=20)
    given = options.parse_args()
    numbers = int(given.megabytes * 1e6 / 4)
    with cluster(EngineSettings()):
        producer = ray.remote(num_cpus=0.5)(Producer).remote(numbers)
        consumer = ray.remote(num_cpus=0.5)(Consumer).remote(producer)

        def median(method: str) -> float:
            ray.get(consumer.milliseconds.remote(method, 3))
            return statistics.median(ray.get(consumer.milliseconds.remote(method, given.times)))

        call = median("nothing")
        kinds = {"NumPy array": median("array"), "torch tensor": median("tensor")}
        copies = ray.get(consumer.copies.remote())
    kinds["copy of memory"] = call + _median_copy(numbers, given.times)
    rows = [
        {"what": name, "ms": total - call, "gb_per_s": given.megabytes / (total - call)}
        for name, total in kinds.items()
    ]
    print(f"{given.megabytes:g} MB, median of {given.times}; an empty call takes {call:.2f} ms\n")
    print_table(["what", "ms", "GB/s"], [list(row.values()) for row in rows])
    print(f"\nreading an array copies it: {'yes' if copies else 'no'}")
    write_json(
        given.json,
        {"megabytes": given.megabytes, "call_ms": call, "rows": rows, "copies_on_read": int(copies)},
    )


def _median_copy(numbers: int, times: int) -> float:
    source = np.ones(numbers, dtype=np.float32)
    target = np.empty_like(source)

    def once(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - started)

    return statistics.median(once(lambda: np.copyto(target, source)) for _ in range(times))


if __name__ == "__main__":
    main()
