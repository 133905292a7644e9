"""Pulls through a server of which a share of the answers is no answer, and pulls that are killed and given again.

share     symbols whose rows are right, of those asked for, where 30 % of the answers are late, dropped, truncated,
          a page, 429 or 500 (the first trouble of a request does not spare it from a second)
repeated  questions put again after a kill -9, other than the one that had no answer yet
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

from rows import ROOT, Figure, row

sys.path.insert(0, str(ROOT / "tests" / "data"))
from fiduciary.data.history import History
from fiduciary.data.pull import Means, Plan, pull
from fiduciary.data.sources import Fred, Patience
from loopback import BUSY, DROPPED, PAGE, Answer, Asked, Loopback

FAULTY, SYMBOLS, KILLS = 0.3, 400, 50
ROWS = 24
MEANS = Means(patience=Patience(first=0.005, longest=0.05))
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import pull_faults
pull_faults.pulled(*sys.argv[2:])
"""


def right(series: str) -> list[float]:
    """The values of a series."""
    return [round(random.Random(series).uniform(1, 2) + n, 6) for n in range(ROWS)]


def answer(asked: Asked) -> Answer:
    series = asked.query["series_id"]
    rows = [
        {"realtime_start": f"{2000 + n}-06-01", "date": f"{2000 + n}-01-01", "value": str(value)}
        for n, value in enumerate(right(series))
    ]
    return Answer(json.dumps({"count": ROWS, "units": "", "observations": rows}).encode())


def faulty(rng: random.Random) -> "object":
    """The right answer, or one of six that are none."""

    def often(asked: Asked) -> Answer:
        whole = answer(asked)
        if rng.random() >= FAULTY:
            return whole
        cut = whole._replace(cut=len(whole.body) // 2)
        return rng.choice([DROPPED, PAGE, BUSY, Answer(status=429), cut, whole._replace(late=0.3)])

    return often


def pulled(url: str, folder: str, symbols: int | str) -> None:
    """Pull into `folder`, with pieces beside the history."""
    Fred.rate = 0.0
    names = tuple(f"S{n:04d}" for n in range(int(symbols)))
    plan = Plan(Fred(url, "none", timeout=0.15), "macro", names, stop=date(2024, 1, 31), known="published")
    pull(plan, History(f"{folder}/history"), MEANS._replace(cache=Path(folder) / "pieces"))


def correct(folder: str) -> int:
    """Series that are held whole and right."""
    held = History(f"{folder}/history").read("macro").group_by("series", maintain_order=True).agg("value")
    return sum(values == right(series) for series, values in held.iter_rows())


def share() -> Figure:
    with tempfile.TemporaryDirectory() as folder, Loopback(faulty(random.Random(0))) as server:
        pulled(server.url, folder, SYMBOLS)
        got = 100 * correct(folder) / SYMBOLS
        note = f"of {SYMBOLS} symbols pulled right in one go through a server that spoils {FAULTY:.0%} of its answers"
        return Figure(got, "%", None, "higher", SYMBOLS, f"{note}; {len(server.seen) / SYMBOLS:.2f} questions each")


def repeated() -> Figure:
    """Kill a pull of 70 symbols at a random question, give it again, and count what was asked twice."""
    rng, again, wrong = random.Random(1), 0, 0
    for _ in range(KILLS):
        with tempfile.TemporaryDirectory() as folder, Loopback() as server:
            last = rng.randrange(1, 70)
            server.answer = lambda asked, s=server, n=last: answer(asked)._replace(
                late=5.0 if len(s.seen) == n else 0.0
            )
            command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), server.url, folder, "70"]
            process = subprocess.Popen(command)
            while len(server.seen) < last and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
            unanswered = server.seen[-1].query["series_id"]
            server.answer = answer
            subprocess.run(command, check=True)
            times = Counter(asked.query["series_id"] for asked in server.seen)
            again += sum(times.values()) - len(times) - (times[unanswered] > 1)
            wrong += 70 - correct(folder)
    note = f"questions put twice after {KILLS} kills -9 of a pull of 70 symbols at a random question; {wrong} symbols wrong"
    return Figure(again, "questions", 0.0, "lower", KILLS, note)


if __name__ == "__main__":
    row(5, lambda: {"share": share(), "repeated": repeated()})
