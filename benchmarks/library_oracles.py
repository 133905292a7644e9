"""The library against what others make of the same bars: how many factors, and the greatest difference in each family."""

import sys
from dataclasses import replace

import numpy as np

from rows import ROOT, Figure, row


def measure() -> dict[str, Figure]:
    sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "factors")]
    import test_library_alpha101 as alpha101
    import test_library_families as families
    import test_library_indicators as indicators
    import test_library_qlib as qlib
    from library_market import FACTORS, market

    from fiduciary import data
    from fiduciary.factors import tabulate
    from fiduciary.factors.library import LIBRARY
    from fiduciary.factors.library.fields import with_vwap

    real = data.sample("us-stocks")

    def figure(value: float, n: int, note: str, peer: str) -> Figure:
        return Figure(value, "relative difference", 1e-9, "lower", n, note, peer=peer)

    def of_talib(family: str) -> Figure:
        alone = [real.select([symbol]) for symbol in real.symbols]
        gaps = [indicators.gap_to_talib(factor, bars) for factor in LIBRARY[family] for bars in alone]
        return figure(max(gaps), len(LIBRARY[family]), f"{family}, 4 shares, 13 years", "TA-Lib")

    def of_qlib(family: str, strings: dict[str, str]) -> Figure:
        bars = with_vwap(real.between("2009", "2011").select(["AAPL", "IBM"]))
        gap = qlib.gap_to_qlib(strings, LIBRARY[family], bars)
        return figure(gap, len(LIBRARY[family]), "Qlib's strings, 2 shares, 3 years", "plain pandas")

    def of_the_paper() -> Figure:
        bars = market(0, 500, 40, fields=("vwap", "industry", "cap"))
        gaps = [np.max(np.abs(np.subtract(*alpha101.both(formula, bars)))) for formula in LIBRARY["alpha101"]]
        note = "as printed, 40 simulated shares, 500 days, inner sums and correlations rounded to 9 digits in both; absolute"
        return replace(figure(float(max(gaps)), 101, note, "plain pandas"), target=1e-8)

    def by_hand() -> Figure:
        bars = market(1, 1300, 5, fields=("shares",))
        expected = [families.expected_now(bars, n) for n in range(5)]
        table = tabulate(bars, [FACTORS[name] for name in expected[0]], threads=1)
        gaps = [abs(table[name][-1, n] - x) / (abs(x) + 1e-12) for n in range(5) for name, x in expected[n].items()]
        return figure(
            float(max(gaps)), len(expected[0]), "momentum, risk and liquidity, 5 simulated shares", "plain NumPy"
        )

    note = ", ".join(f"{name} {len(family)}" for name, family in LIBRARY.items())
    return {
        "factors": Figure(len(FACTORS), "factors", None, "higher", len(LIBRARY), note),
        "indicators": of_talib("indicators"),
        "candles": of_talib("candles"),
        "alpha158": of_qlib("alpha158", dict(qlib.qlib_158())),
        "alpha360": of_qlib("alpha360", dict(qlib.qlib_360())),
        "alpha101": of_the_paper(),
        "others": by_hand(),
    }


row(5, measure)
