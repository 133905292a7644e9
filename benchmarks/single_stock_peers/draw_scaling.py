"""Draw the four curves of `scaling.py`, read as JSON, into one picture. Argument: its path."""

import json
import sys

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

TITLES = {
    "batch": ("One stock", "accounts side by side", "account-steps/s"),
    "threads": ("One stock, threads", "accounts side by side", "account-steps/s"),
    "days": ("One stock, 16,384 accounts", "days in the world", "account-steps/s"),
    "assets": ("Shares of N stocks, 16,384 / N accounts", "stocks", "account-steps/s"),
}
curves = json.load(sys.stdin)
figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
for axis, (name, (xs, lines)) in zip(axes.flat, curves.items(), strict=True):
    title, x_label, y_label = TITLES[name]
    for label, rates in lines.items():
        axis.plot(xs, rates, marker="o", markersize=4, label=label)
    axis.set(title=title, xlabel=x_label, ylabel=y_label, xscale="log")
    if name in ("batch", "assets"):
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.set_xticks(xs, [f"{x:,}" for x in xs], rotation=30, ha="right")
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    if len(lines) > 1:
        axis.legend(frameon=False)
figure.savefig(sys.argv[1], dpi=110)
