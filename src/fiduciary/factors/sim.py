"""The ten inputs of LSTM-DQN stock investment management, as levels and as scale-free ratios.

Source: card 1.1 (Comput. Intell. Neurosci. 2022): open, high, low, close, volume, MA10, MA21, RSI, MOM, EMA. The paper
gives no periods for RSI, MOM and EMA; 14, 10 and 12 are our choice [U].

Indicators are TA-Lib's, with its conventions:

- EMA starts as the mean of the first 12 closes and RSI from the mean of the first 14 gains and losses, and both then
  remember every bar since the symbol's first. Their value at t depends on where the history starts, so compute factors
  on the whole history first and cut dates afterwards; the law of causality holds either way.
- RSI of 14 bars without any change is 0, not 50: a long suspension with repeated prices reads as "oversold".
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.factors import ops
from fiduciary.factors.expression import Expr, Field
from fiduciary.factors.factor import Bars, Factor

if TYPE_CHECKING:
    from types import ModuleType

Floats = NDArray[np.float64]

SHORT, LONG = 10, 21
RSI_PERIOD, MOM_PERIOD, EMA_PERIOD = 14, 10, 12
QUIET = 0.01
"""Least volume, as a fraction of its 21-bar mean, that `log_volume` tells apart; keeps the logarithm finite at zero."""


def _talib() -> "ModuleType":
    # Imported late: it costs time, and a panel without indicators does not need it.
    try:
        import talib
    except ImportError as problem:
        raise ConfigError("SIM factors must have TA-Lib", str(problem), remedy="pip install TA-Lib") from problem
    return talib


# --- levels ----------------------------------------------------------------------------------------------------------


def _level(bars: Bars, field: str) -> Floats:
    return bars[field]


def _indicator(bars: Bars, indicator: str, period: int) -> Floats:
    """One of TA-Lib's indicators of the close; NaN while it is unknown."""
    values: Floats = getattr(_talib(), indicator)(np.ascontiguousarray(bars["close"]), timeperiod=period)
    return values


# --- ratios ----------------------------------------------------------------------------------------------------------


def _before(values: Floats, bars_ago: int) -> Floats:
    """The value `bars_ago` bars earlier; NaN where there is none."""
    out = np.full(len(values), np.nan)
    out[bars_ago:] = values[: max(len(values) - bars_ago, 0)]
    return out


def _since_close(bars: Bars, field: str, bars_ago: int) -> Floats:
    return np.log(bars[field] / _before(bars["close"], bars_ago))


def _against_close(bars: Bars, field: str) -> Floats:
    return np.log(bars[field] / bars["close"])


def _close_against(bars: Bars, indicator: str, period: int) -> Floats:
    return np.log(bars["close"] / _indicator(bars, indicator, period))


def _centred_rsi(bars: Bars) -> Floats:
    return _indicator(bars, "RSI", RSI_PERIOD) / 100 - 0.5


def _log_volume(bars: Bars) -> Floats:
    """log(max(volume / mean, `QUIET`)); 0 where nothing was traded in 21 bars."""
    volume = bars["volume"]
    ratio = np.full(len(volume), np.nan)
    if len(volume) >= LONG:
        # Not TA-Lib's running sum: its rounding leaves a speck of volume, of either sign, after 21 empty bars.
        mean = sliding_window_view(volume, LONG).mean(axis=-1)
        ratio[LONG - 1 :] = np.divide(volume[LONG - 1 :], mean, out=np.ones_like(mean), where=mean > 0)
    return np.asarray(np.log(np.maximum(ratio, QUIET)))


# --- twins -----------------------------------------------------------------------------------------------------------

OPEN, HIGH, LOW, CLOSE, VOLUME = map(Field, ("open", "high", "low", "close", "volume"))
FLAT = 1e-14
"""Mean gain plus mean loss below which TA-Lib's RSI is 0."""


def _rsi() -> Expr:
    move = ops.delta(CLOSE, 1)
    gain, loss = (ops.wilder(ops.maximum(side, 0), RSI_PERIOD) for side in (move, -move))
    return ops.where(gain + loss < FLAT, 0, 100 * (gain / (gain + loss)))


def _relative_volume() -> Expr:
    mean = ops.ts_mean(VOLUME, LONG)
    return ops.log(ops.maximum(ops.where(mean > 0, VOLUME / mean, 1), QUIET))


MA10, MA21, EMA12, RSI14 = ops.ts_mean(CLOSE, SHORT), ops.ts_mean(CLOSE, LONG), ops.ema(CLOSE, EMA_PERIOD), _rsi()

# --- the two sets ----------------------------------------------------------------------------------------------------


def _make(
    name: str, lookback: int, twin: Expr, function: Callable[..., Floats], *needs: str, **options: str | int
) -> Factor:
    return Factor(name, lookback, partial(function, **options), needs, twin)


SIM: tuple[Factor, ...] = (
    _make("open", 1, OPEN, _level, "open", field="open"),
    _make("high", 1, HIGH, _level, "high", field="high"),
    _make("low", 1, LOW, _level, "low", field="low"),
    _make("close", 1, CLOSE, _level, "close", field="close"),
    _make("volume", 1, VOLUME, _level, "volume", field="volume"),
    _make("ma10", SHORT, MA10, _indicator, "close", indicator="SMA", period=SHORT),
    _make("ma21", LONG, MA21, _indicator, "close", indicator="SMA", period=LONG),
    _make("rsi", RSI_PERIOD + 1, RSI14, _indicator, "close", indicator="RSI", period=RSI_PERIOD),
    _make("mom", MOM_PERIOD + 1, ops.delta(CLOSE, MOM_PERIOD), _indicator, "close", indicator="MOM", period=MOM_PERIOD),
    _make("ema", EMA_PERIOD, EMA12, _indicator, "close", indicator="EMA", period=EMA_PERIOD),
)
"""The paper's ten, as levels in money, units and points. Prices leave their training range, and a z-score with them."""

SIM_RELATIVE: tuple[Factor, ...] = (
    _make("log_open", 2, ops.log(OPEN / ops.ref(CLOSE, 1)), _since_close, "open", "close", field="open", bars_ago=1),
    _make("log_high", 1, ops.log(HIGH / CLOSE), _against_close, "high", "close", field="high"),
    _make("log_low", 1, ops.log(LOW / CLOSE), _against_close, "low", "close", field="low"),
    _make("log_close", 2, ops.log(CLOSE / ops.ref(CLOSE, 1)), _since_close, "close", field="close", bars_ago=1),
    _make("log_volume", LONG, _relative_volume(), _log_volume, "volume"),
    _make("log_ma10", SHORT, ops.log(CLOSE / MA10), _close_against, "close", indicator="SMA", period=SHORT),
    _make("log_ma21", LONG, ops.log(CLOSE / MA21), _close_against, "close", indicator="SMA", period=LONG),
    _make("rsi_centred", RSI_PERIOD + 1, RSI14 / 100 - 0.5, _centred_rsi, "close"),
    _make(
        "log_mom",
        MOM_PERIOD + 1,
        ops.log(CLOSE / ops.ref(CLOSE, MOM_PERIOD)),
        _since_close,
        "close",
        field="close",
        bars_ago=MOM_PERIOD,
    ),
    _make("log_ema", EMA_PERIOD, ops.log(CLOSE / EMA12), _close_against, "close", indicator="EMA", period=EMA_PERIOD),
)
"""The same ten without units: they do not change when all prices, or all volumes, are multiplied by a constant.

    log_open    log(open_t / close_tm1)         log_ma10     log(close_t / MA10_t)
    log_high    log(high_t / close_t)           log_ma21     log(close_t / MA21_t)
    log_low     log(low_t / close_t)            rsi_centred  RSI_t / 100 - 0.5
    log_close   log(close_t / close_tm1)        log_mom      log(close_t / close_tm10)
    log_volume  log(max(volume_t / MA21_t(volume), 0.01)), 0 where MA21_t is 0
    log_ema     log(close_t / EMA_t)
"""
