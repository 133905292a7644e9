"""What every worker does, whatever it has installed: one measurement for each line read."""

import sys
import time
from collections.abc import Callable

SECONDS = 1.0


def serve(episode: Callable[[], int]) -> None:
    """Run `episode`, which returns its steps, for about a second; print steps a second and steps a processor second."""
    for _ in sys.stdin:
        taken, wall, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < SECONDS:
            taken += episode()
        print(taken / (time.perf_counter() - wall), taken / (time.process_time() - cpu), flush=True)
