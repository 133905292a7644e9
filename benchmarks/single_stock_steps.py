"""Account-steps per second of StockTrading on two cores, windows left as indices."""

from statistics import median

from rows import Figure, row
from single_stock_peers import BATCH, PAIRS, Worker


def measure() -> Figure:
    with Worker("ours.py", BATCH, "indices") as one, Worker("ours.py", BATCH, "indices") as two:
        one.rate(), two.rate()  # warm
        alone, together, by_cpu = [], [], []
        for _ in range(PAIRS):
            alone.append(one.rate().a_second)
            one.ask(), two.ask()
            rates = one.answer(), two.answer()
            together.append(sum(rate.a_second for rate in rates))
            by_cpu.extend(rate.a_cpu_second for rate in rates)
    note = (
        f"step and observe, {BATCH:,} accounts in each of two processes with one thread, episodes of 250 days under A-share "
        f"rules, random actions drawn beforehand; one process alone: {median(alone):,.0f}; each CPU second of the two: "
        f"{median(by_cpu):,.0f}"
    )
    spread = (round(min(together)), round(max(together)))
    return Figure(round(median(together)), "account-steps/s", 10_000_000, "higher", PAIRS, note, spread)


if __name__ == "__main__":
    row(3, measure)
