"""How often the whole pipeline, learner included, says "evidence for" on markets in which there is nothing to learn."""

from fiduciary.study.placebo import LEVEL, placebo
from rows import Figure, row

RUNS = 50


def measure() -> Figure:
    result = placebo(runs=RUNS, workers=2)
    print(f"  {result.sentence}")
    each = "; ".join(f"{null.market} {null.found} for, {null.against} against" for null in result.nulls)
    all_ = result.total
    note = (
        f"{each}, of {RUNS} each; one stock, ExoQ with 3 seeds, two years to learn and two of test, free trading; interval of "
        f"Clopper and Pearson; p-values too small: p = {all_.too_small:.2f}"
    )
    return Figure(all_.rate, 'of runs say "evidence for"', LEVEL, "lower", all_.runs, note, (all_.low, all_.high))


if __name__ == "__main__":
    row(4, measure)
