"""Planted edges of known Sharpe ratio: how far the share that the pipeline finds lies from the power in closed form."""

from fiduciary.study.placebo import Count, placebo, reading_study, small_study
from rows import Figure, row

EDGES = (0.0, 1.5, 3.0)
RUNS, LEARNER_RUNS = 80, 10


def _told(count: Count) -> str:
    return f"{count.market}: {count.rate:.0%} [{count.low:.0%}, {count.high:.0%}], closed form {count.power:.1%}"


def measure() -> Figure:
    rule = placebo(reading_study(), markets=(), edges=EDGES, runs=RUNS, workers=2).edges
    learner = placebo(small_study(), markets=(), edges=EDGES, runs=LEARNER_RUNS, workers=2).edges
    gaps = [abs(count.rate - count.power) for count in rule if count.power is not None]
    note = (
        f"worst of {len(EDGES)} annual Sharpe ratios against holding, two years of test; the best rule as candidate, found of "
        f"{RUNS} each: {'; '.join(map(_told, rule))}. A learner that has to find the edge in two years, of {LEARNER_RUNS} "
        f"each: {', '.join(f'{count.market}: {count.rate:.0%}' for count in learner)}"
    )
    return Figure(max(gaps), "worst gap between power found and in closed form", None, "lower", RUNS * len(EDGES), note)


if __name__ == "__main__":
    row(4, measure)
