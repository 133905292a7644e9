"""Volatility of a price from its bars: per bar, not annualised, over 20 and 60 bars.

With o = log(open_t / close_tm1), c = log(close_t / open_t), u = log(high_t / open_t), d = log(low_t / open_t), each is the root
of a variance estimate. As variances they are unbiased for a geometric Brownian motion that is seen without pause:
Parkinson and Garman-Klass without drift, the others with any. Parkinson, Garman-Klass and Rogers-Satchell leave out the
night. Seen only at ticks, highs are too low and lows too high, and with them the estimates from the range.
"""

from fiduciary.factors.library.define import formulas, written_out

WINDOWS = (20, 60)

ESTIMATORS = {
    "close_to_close": ("ts_std(log(close / ref(close, 1)), D)", "sample standard deviation of log returns"),
    "parkinson": (
        "sqrt(ts_mean(log(high / low) ** 2, D) / (4 * log(2)))",
        "Parkinson, J. Business 53, 1980: (u - d)^2 / (4 ln 2)",
    ),
    "garman_klass": (
        "sqrt(ts_mean(log(high / low) ** 2 / 2 - (2 * log(2) - 1) * log(close / open) ** 2, D))",
        "Garman and Klass, J. Business 53, 1980, the practical form: (u - d)^2 / 2 - (2 ln 2 - 1) c^2",
    ),
    "rogers_satchell": ("sqrt(ts_mean(RS, D))", "Rogers and Satchell, Ann. Appl. Prob. 1, 1991: RS = u (u - c) + d (d - c)"),
    "yang_zhang": (
        "sqrt(ts_var(log(open / ref(close, 1)), D) + K * ts_var(log(close / open), D) + (1 - K) * ts_mean(RS, D))",
        "Yang and Zhang, J. Business 73, 2000: var(o) + k var(c) + (1 - k) RS, k = 0.34 / (1.34 + (D + 1) / (D - 1))",
    ),
    "realised": (
        "sqrt(ts_mean(realised_variance, D))",
        "Andersen et al., Econometrica 71, 2003: root of the mean sum of squared intraday log returns",
    ),
}  # fmt: skip
"""D stands for the window in bars; `realised_variance` is a field, see `realised_variance` and `with_fundamentals`."""

WORDS = {
    "RS": "log(high / close) * log(high / open) + log(low / close) * log(low / open)",
    "K": "0.34 / (1.34 + (D + 1) / (D - 1))",
}

VOLATILITY = formulas(
    {
        f"{name}_{window}": (written_out(text, WORDS | {"D": str(window)}), about)
        for name, (text, about) in ESTIMATORS.items()
        for window in WINDOWS
    }
)
"""12 formulas: six estimators over 20 and 60 bars."""
