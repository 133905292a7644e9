"""Draw learning curves: JSON {problem: {agent: [[[step, reward], ...], ...]}} on standard input; argument: the picture."""

import json
import sys

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

curves = json.load(sys.stdin)
figure, axes = plt.subplots(2, 2, figsize=(12, 8), dpi=110)
names = list(dict.fromkeys(name for agents in curves.values() for name in agents))
colors = {name: plt.get_cmap("tab20")(k % 20) for k, name in enumerate(names)}
for panel, (problem, agents) in zip(axes.flat, curves.items(), strict=True):
    for name, seeds in agents.items():
        for k, points in enumerate(seeds):
            x, y = zip(*points, strict=True)
            panel.plot(x, y, color=colors[name], linewidth=1.2, alpha=0.8, label=name if k == 0 else None)
    panel.set_xscale("log")
    panel.set(title=problem, xlabel="environment steps", ylabel="mean reward of a step")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.25)
    panel.legend(frameon=False, fontsize=8)
figure.tight_layout()
figure.savefig(sys.argv[1])
