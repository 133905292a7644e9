"""Alpha158 and Alpha360, the feature sets of Qlib, under Qlib's names.

Source: Yang et al., "Qlib: An AI-oriented Quantitative Investment Platform", 2020, arXiv 2009.11189, and the definitions in
Qlib's data loader. Values are ratios without units: to the present close or volume, or shares and correlations.

Qlib fills a window from its first bar on; here a value is known when its window is full. `vwap` is a field of the panel:
see `with_vwap`. The 1e-12 beside a denominator is Qlib's; it turns 0 / 0 into 0, and a volume of 0 into very large numbers.
"""

from fiduciary.factors.library.define import formulas, written_out

WINDOWS = (5, 10, 20, 30, 60)
LAGS = range(59, -1, -1)

BAR = {
    "KMID": ("(close - open) / open", "body of the bar"),
    "KLEN": ("(high - low) / open", "range of the bar"),
    "KMID2": ("(close - open) / (high - low + 1e-12)", "body over range"),
    "KUP": ("(high - maximum(open, close)) / open", "upper shadow"),
    "KUP2": ("(high - maximum(open, close)) / (high - low + 1e-12)", "upper shadow over range"),
    "KLOW": ("(minimum(open, close) - low) / open", "lower shadow"),
    "KLOW2": ("(minimum(open, close) - low) / (high - low + 1e-12)", "lower shadow over range"),
    "KSFT": ("(2 * close - high - low) / open", "close against the middle of the range"),
    "KSFT2": ("(2 * close - high - low) / (high - low + 1e-12)", "the same over range, in [-1, 1]"),
    "OPEN0": ("open / close", "open over close"),
    "HIGH0": ("high / close", "high over close"),
    "LOW0": ("low / close", "low over close"),
    "VWAP0": ("vwap / close", "volume-weighted price over close"),
}

ROLLING = {
    "ROC": ("ref(close, D) / close", "price D bars ago over the present one"),
    "MA": ("ts_mean(close, D) / close", "moving average over close"),
    "STD": ("ts_std(close, D) / close", "standard deviation of the price over close"),
    "BETA": ("ts_slope(close, D) / close", "slope of the line through the prices, per bar, over close"),
    "RSQR": ("ts_rsquare(close, D)", "share of variance that the line explains"),
    "RESI": ("ts_resid(close, D) / close", "close less the line, over close"),
    "MAX": ("ts_max(high, D) / close", "highest high over close"),
    "MIN": ("ts_min(low, D) / close", "lowest low over close"),
    "QTLU": ("ts_quantile(close, D, 0.8) / close", "80 % quantile of the price over close"),
    "QTLD": ("ts_quantile(close, D, 0.2) / close", "20 % quantile of the price over close"),
    "RANK": ("ts_rank(close, D)", "rank of the close in its window, in (0, 1]"),
    "RSV": ("(close - ts_min(low, D)) / (ts_max(high, D) - ts_min(low, D) + 1e-12)", "place in the window's range, in [0, 1]"),
    "IMAX": ("ts_argmax(high, D) / D", "place of the highest high in the window, in (0, 1]"),
    "IMIN": ("ts_argmin(low, D) / D", "place of the lowest low in the window, in (0, 1]"),
    "IMXD": ("(ts_argmax(high, D) - ts_argmin(low, D)) / D", "the one place less the other"),
    "CORR": ("ts_corr(close, log(volume + 1), D)", "correlation of price and log volume"),
    "CORD": (
        "ts_corr(close / ref(close, 1), log(volume / ref(volume, 1) + 1), D)", "correlation of their changes",
    ),
    "CNTP": ("ts_mean(close > ref(close, 1), D)", "share of bars that rose"),
    "CNTN": ("ts_mean(close < ref(close, 1), D)", "share of bars that fell"),
    "CNTD": ("ts_mean(close > ref(close, 1), D) - ts_mean(close < ref(close, 1), D)", "the one share less the other"),
    "SUMP": ("ts_sum(UP, D) / (ts_sum(abs(close - ref(close, 1)), D) + 1e-12)", "rises over all moves of the price"),
    "SUMN": ("ts_sum(DOWN, D) / (ts_sum(abs(close - ref(close, 1)), D) + 1e-12)", "falls over all moves of the price"),
    "SUMD": (
        "(ts_sum(UP, D) - ts_sum(DOWN, D)) / (ts_sum(abs(close - ref(close, 1)), D) + 1e-12)", "the one less the other",
    ),
    "VMA": ("ts_mean(volume, D) / (volume + 1e-12)", "mean volume over the present one"),
    "VSTD": ("ts_std(volume, D) / (volume + 1e-12)", "standard deviation of volume over the present one"),
    "WVMA": ("ts_std(TRADED, D) / (ts_mean(TRADED, D) + 1e-12)", "variation of the volume-weighted absolute returns"),
    "VSUMP": ("ts_sum(MORE, D) / (ts_sum(abs(volume - ref(volume, 1)), D) + 1e-12)", "rises over all moves of volume"),
    "VSUMN": ("ts_sum(LESS, D) / (ts_sum(abs(volume - ref(volume, 1)), D) + 1e-12)", "falls over all moves of volume"),
    "VSUMD": (
        "(ts_sum(MORE, D) - ts_sum(LESS, D)) / (ts_sum(abs(volume - ref(volume, 1)), D) + 1e-12)", "the one less the other",
    ),
}  # fmt: skip
"""D stands for the window in bars."""

WORDS = {
    "UP": "maximum(close - ref(close, 1), 0)",
    "DOWN": "maximum(ref(close, 1) - close, 0)",
    "MORE": "maximum(volume - ref(volume, 1), 0)",
    "LESS": "maximum(ref(volume, 1) - volume, 0)",
    "TRADED": "abs(close / ref(close, 1) - 1) * volume",
}


def _past(field: str, bars: int) -> tuple[str, str]:
    over = "(volume + 1e-12)" if field == "volume" else "close"
    return (
        f"{f'ref({field}, {bars})' if bars else field} / {over}",
        f"{field} of {bars} bars ago over the present {over}",
    )


ALPHA158 = formulas(BAR) + formulas(
    {
        f"{name}{window}": (written_out(text, {"D": str(window)}), about)
        for name, (text, about) in ROLLING.items()
        for window in WINDOWS
    },
    WORDS,
)
"""158 formulas: the shape of the bar (13) and 29 rolling ones over 5, 10, 20, 30 and 60 bars."""

ALPHA360 = formulas(
    {
        f"{field.upper()}{bars}": _past(field, bars)
        for field in ("close", "open", "high", "low", "vwap", "volume")
        for bars in LAGS
    }
)
"""360 formulas: the last 60 bars of six fields over the present close, or volume."""
