"""TA-Lib's indicators at their default parameters, named `ta_` and TA-Lib's name, with its output where there are several.

Two kinds. Those whose value the last bars determine are `Factor`s: TA-Lib computes them, in batch over the whole history
and in a stream over the last `memory` bars. Those that remember every bar since the first are formulas, which batch and
stream compute alike; they equal TA-Lib's output to rounding (tested), begin where it begins or one bar later, and the
sums since the beginning (AD, OBV, NVI, PVI, PVT, VWAP, WAD) and the averages depend on where the history starts.

Units are TA-Lib's: prices, points of 100, volume; candles are -200, -100, 0, 100, 200. A window in which nothing moves or
nothing is traded is 0 where TA-Lib says 0, else unknown.

Left out: HT_DCPERIOD, HT_DCPHASE, HT_PHASOR, HT_SINE, HT_TRENDLINE, HT_TRENDMODE, MAMA, KAMA, SAR, SAREXT and SUPERTREND
carry a state that no operator of the language has; MACDFIX has gains that belong to no whole period; MAVP needs a field of
periods. The groups of mathematics are operators, not indicators.
"""

from functools import partial
from importlib import import_module
from itertools import chain

import numpy as np

from fiduciary.factors.factor import Bars, Factor, Floats
from fiduciary.factors.formula import Formula
from fiduciary.factors.library.define import formulas

BOUNDED = {
    "overlap": "ACCBANDS BBANDS DONCHIAN HMA MA MIDPOINT MIDPRICE SMA TRIMA WMA",
    "momentum": "AC AO AROON AROONOSC BOP CCI CMOU COPPOCK DPO ER FOSC FRACTAL IMI MACDEXT MFI MOM QSTICK ROC ROCP ROCR"
    " ROCR100 STOCH STOCHF ULTOSC VHF VORTEX WILLR",
    "volume": "CMF MARKETFI",
    "volatility": "ADR TRANGE",
    "price": "AVGDEV AVGPRICE MEDPRICE TYPPRICE WCLPRICE",
    "statistics": "BETA CORREL LINEARREG LINEARREG_ANGLE LINEARREG_INTERCEPT LINEARREG_SLOPE PERCENTILE PERCENTRANK STDDEV"
    " TSF VAR",
}

WORDS = {
    "N": "cumsum(close == close)",
    "RISE": "maximum(close - ref(close, 1), 0)",
    "FALL": "maximum(ref(close, 1) - close, 0)",
    "GAIN": "wilder(RISE, 14)",
    "LOSS": "wilder(FALL, 14)",
    "RSI": "fillna(100 * GAIN / (GAIN + LOSS), 0)",
    "TYPICAL": "(high + low + close) / 3",
    "RANGE": "maximum(high, ref(close, 1)) - minimum(low, ref(close, 1))",
    "UP": "high - ref(high, 1)",
    "DOWN": "ref(low, 1) - low",
    "PDM": "where((UP > DOWN) & (UP > 0), UP, 0)",
    "MDM": "where((DOWN > UP) & (DOWN > 0), DOWN, 0)",
    # TA-Lib begins these sums of Wilder with 13 values and not 14, and what that changes fades by 13/14 a bar.
    "FADE": "(13 / 14) ** (N - 15) / 14",
    "PDM14": "14 * wilder(PDM, 14) - FADE * cumsum(where(N <= 14, PDM, 0))",
    "MDM14": "14 * wilder(MDM, 14) - FADE * cumsum(where(N <= 14, MDM, 0))",
    "RANGE14": "14 * wilder(RANGE, 14) - FADE * cumsum(where(N <= 14, RANGE, 0))",
    "DX": "100 * abs(PDM14 - MDM14) / (PDM14 + MDM14)",
    "ADX": "wilder(DX, 14)",
    # The fast average of MACD, and the range of Keltner's channel, begin only when the slow one can.
    "MACD": "ema(close + 0 * ref(close, 14), 12) - ema(close, 26)",
    "KELTNER": "wilder(RANGE + 0 * ref(RANGE, 9), 10)",
    "RSV": "fillna(100 * (close - ts_min(low, 9)) / (ts_max(high, 9) - ts_min(low, 9)), 0)",
    "K": "wilder(RSV, 3)",
    "SMI": "200 * ema(ema(close - (ts_max(high, 13) + ts_min(low, 13)) / 2, 25), 2)"
    " / ema(ema(ts_max(high, 13) - ts_min(low, 13), 25), 2)",
    # While no price moves the RSI stands still but for rounding, which is no range.
    "STILL": "ts_max(RSI, 5) - ts_min(RSI, 5) < 1e-9",
    "STOCHRSI": "where(STILL, 0, 100 * (RSI - ts_min(RSI, 5)) / (ts_max(RSI, 5) - ts_min(RSI, 5)))",
    "E1": "ema(close, 30)",
    "E2": "ema(E1, 30)",
    "E3": "ema(E2, 30)",
    "T1": "ema(close, 5)",
    "T2": "ema(T1, 5)",
    "T3": "ema(T2, 5)",
    "T4": "ema(T3, 5)",
    "T5": "ema(T4, 5)",
    "T6": "ema(T5, 5)",
    "SPAN9": "ema(high - low, 9)",
    "SPAN10": "ema(high - low, 10)",
    "MOVED": "close - ref(close, 1)",
    "WIDER": "wilder(where(MOVED > 0, ts_std(close, 10), 0), 14)",
    "LOWER": "wilder(where(MOVED < 0, ts_std(close, 10), 0), 14)",
    "AD": "cumsum(fillna((2 * close - high - low) / (high - low) * volume, 0))",
    # TA-Lib begins the averages of ADOSC by the first value, not by a mean; likewise the open of Heikin-Ashi below.
    "FAST": "ema(AD, 3) + 0.5 ** (N - 3) * cumsum(where(N <= 3, AD * (where(N == 1, 0.25, 0.5 ** (4 - N)) - 1 / 3), 0))",
    "SLOW": "ema(AD, 10) + (9 / 11) ** (N - 10)"
    " * cumsum(where(N <= 10, AD * (where(N == 1, (9 / 11) ** 9, 2 / 11 * (9 / 11) ** (10 - N)) - 0.1), 0))",
    "HACLOSE": "(open + high + low + close) / 4",
    "HAOPEN": "ref(ema(HACLOSE, 3) - 0.5 ** (N - 3) * cumsum(where(N == 1, HACLOSE * 5 / 24 - (open + close) / 16,"
    " where(N == 2, HACLOSE / 12, where(N == 3, 0 - HACLOSE / 6, 0)))), 1)",
}
"""N counts the symbol's bars from 1."""

UNBOUNDED = {
    "EMA": "E1",
    "DEMA": "2 * E1 - E2",
    "TEMA": "3 * E1 - 3 * E2 + E3",
    "T3": "-0.343 * T6 + 2.499 * T5 - 6.069 * T4 + 4.913 * T3",
    "ZLEMA": "ema(2 * close - ref(close, 14), 30)",
    "RMA": "wilder(close, 30)",
    "VWMA": "ts_sum(close * volume, 30) / ts_sum(volume, 30)",
    "KC_UPPERBAND": "ema(TYPICAL, 20) + 2 * KELTNER",
    "KC_MIDDLEBAND": "ema(TYPICAL, 20)",
    "KC_LOWERBAND": "ema(TYPICAL, 20) - 2 * KELTNER",
    "ADX": "ADX",
    "ADXR": "(ADX + ref(ADX, 13)) / 2",
    "DX": "DX",
    "PLUS_DI": "fillna(100 * PDM14 / RANGE14, 0)",
    "MINUS_DI": "fillna(100 * MDM14 / RANGE14, 0)",
    "PLUS_DM": "PDM14",
    "MINUS_DM": "MDM14",
    "APO": "ema(close, 12) - ema(close, 26)",
    "PPO": "100 * (ema(close, 12) / ema(close, 26) - 1)",
    "CMO": "fillna(100 * (GAIN - LOSS) / (GAIN + LOSS), 0)",
    "RSI": "RSI",
    "STOCHRSI_FASTK": "STOCHRSI",
    "STOCHRSI_FASTD": "ts_mean(STOCHRSI, 3)",
    "ERI_BULLPOWER": "high - ema(close, 13)",
    "ERI_BEARPOWER": "low - ema(close, 13)",
    "KDJ_K": "K",
    "KDJ_D": "wilder(K, 3)",
    "KDJ_J": "3 * K - 2 * wilder(K, 3)",
    "MACD_MACD": "MACD",
    "MACD_MACDSIGNAL": "ema(MACD, 9)",
    "MACD_MACDHIST": "MACD - ema(MACD, 9)",
    "SMI_SMI": "SMI",
    "SMI_SMISIGNAL": "ema(SMI, 9)",
    "TRIX": "100 * (E3 / ref(E3, 1) - 1)",
    "TSI": "100 * ema(ema(MOVED, 25), 13) / ema(ema(abs(MOVED), 25), 13)",
    "WAD": "cumsum(where(MOVED > 0, close - minimum(low, ref(close, 1)),"
    " where(MOVED < 0, close - maximum(high, ref(close, 1)), 0)))",
    "HA_HAOPEN": "HAOPEN",
    "HA_HAHIGH": "maximum(high, maximum(HAOPEN, HACLOSE))",
    "HA_HALOW": "minimum(low, minimum(HAOPEN, HACLOSE))",
    "HA_HACLOSE": "HACLOSE",
    "ATR": "wilder(RANGE, 14)",
    "NATR": "100 * wilder(RANGE, 14) / close",
    "CVI": "100 * (SPAN10 / ref(SPAN10, 10) - 1)",
    "MASSI": "ts_sum(SPAN9 / ema(SPAN9, 9), 25)",
    "RVI": "100 * WIDER / (WIDER + LOWER)",
    "AD": "AD",
    "ADOSC": "FAST - SLOW",
    "EFI": "ema(MOVED * volume, 13)",
    "NVI": "1000 * exp(cumsum(where(volume < ref(volume, 1), log(close / ref(close, 1)), 0)))",
    "PVI": "1000 * exp(cumsum(where(volume > ref(volume, 1), log(close / ref(close, 1)), 0)))",
    "OBV": "cumsum(where(N == 1, volume, 0)) + cumsum(sign(MOVED) * volume)",
    "PVO": "100 * (ema(volume, 12) / ema(volume, 26) - 1)",
    "PVT": "cumsum((close / ref(close, 1) - 1) * volume)",
    "RVOL": "volume / ts_mean(ref(volume, 1), 20)",
    "VWAP": "cumsum(TYPICAL * volume) / cumsum(volume)",
}


def _output(bars: Bars, name: str, fields: tuple[str, ...], output: int, start: int) -> Floats:
    """One output of a TA-Lib function, NaN for its first `start` bars: whole numbers would begin with zeros."""
    import talib

    done = getattr(talib, name)(*(np.ascontiguousarray(bars[field]) for field in fields))
    values = np.array(done[output] if isinstance(done, tuple) else done, dtype=np.float64)
    values[:start] = np.nan
    return values


def _factors(name: str) -> tuple[Factor, ...]:
    """A factor for every output."""
    function = import_module("talib.abstract").Function(name)
    start, outputs = function.lookback, function.output_names
    inputs = ([given] if isinstance(given, str) else given for given in function.input_names.values())
    fields = tuple(chain.from_iterable(inputs))
    return tuple(
        Factor(
            (f"ta_{name}_{output}" if len(outputs) > 1 else f"ta_{name}").lower(), start + 1,
            partial(_output, name=name, fields=fields, output=k, start=start), fields, memory=start + 1,
        )
        for k, output in enumerate(outputs)
    )  # fmt: skip


INDICATORS: tuple[Factor | Formula, ...] = formulas(
    {f"ta_{name.lower()}": (text, f"TA-Lib's {name} at its default parameters") for name, text in UNBOUNDED.items()},
    WORDS,
) + tuple(factor for group in BOUNDED.values() for name in group.split() for factor in _factors(name))
"""Formulas and factors of the groups overlap, momentum, volume, volatility, price transform and statistics."""

CANDLES = tuple(
    factor for name in import_module("talib").get_function_groups()["Pattern Recognition"] for factor in _factors(name)
)
"""The 61 candlestick patterns, "ta_cdl2crows" to "ta_cdlxsidegap3methods"."""
