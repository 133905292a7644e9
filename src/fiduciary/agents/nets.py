"""Networks in two halves: `encode` reads the world once per bar, `head` joins the account to it.

Splitting them lets one encoding serve every position, every action and every account that stands on the same bar.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fiduciary.agents.ops import dueling
from fiduciary.core.errors import ConfigError


class QNet(nn.Module):
    """Two LSTM layers over the window and a dense layer over (h, account, h x account).

    The product lets one dense layer value an action differently for a holder and for a bystander; without it, Q would be
    additive in what the market says and in what the account holds.
    """

    def __init__(self, features: int, account: int, actions: int, hidden: tuple[int, int], duel: bool) -> None:
        super().__init__()
        self.first = nn.LSTM(features, hidden[0], batch_first=True)
        self.second = nn.LSTM(hidden[0], hidden[1], batch_first=True)
        joined = hidden[1] * (1 + account) + account
        self.action_values = nn.Linear(joined, actions)
        self.state_value = nn.Linear(joined, 1) if duel else None

    def encode(self, window: Tensor) -> Tensor:
        """[B, W, F] -> [B, H]: the second layer's output at the present bar."""
        below, _ = self.first(window)
        above: Tensor = self.second(below)[0]
        return above[:, -1]

    def head(self, h: Tensor, account: Tensor) -> Tensor:
        """h [B, H] and account [B, K] -> Q [B, A]."""
        product = (h.unsqueeze(-1) * account.unsqueeze(-2)).flatten(-2)
        joined = torch.cat((h, account, product), dim=-1)
        q: Tensor = self.action_values(joined)
        return q if self.state_value is None else dueling(self.state_value(joined), q)

    def forward(self, window: Tensor, account: Tensor) -> Tensor:
        """Q [B, A] of windows [B, W, F] and accounts [B, K]."""
        return self.head(self.encode(window), account)


@dataclass(frozen=True)
class LSTM:
    """Widths of the two LSTM layers."""

    first: int = 64
    second: int = 32

    def __post_init__(self) -> None:
        if min(self.first, self.second) < 1:
            raise ConfigError("the widths of an LSTM must be at least 1", f"{self.first}, {self.second}")

    def build(self, features: int, account: int, actions: int, *, duel: bool = False) -> QNet:
        """A freshly initialised network; draws from torch's global generator."""
        return QNet(features, account, actions, (self.first, self.second), duel)


class Encodings:
    """What a frozen network makes of each bar, computed when a bar is first asked for and kept until `refresh`.

    A world of M bars costs M encodings per refresh, however many accounts and updates read them.
    """

    def __init__(self, net: QNet, bars: Tensor, window: int) -> None:
        self.net, self.bars, self.window = net, bars, window
        self.known = torch.zeros(len(bars), dtype=torch.bool)
        self.table = torch.empty(0)

    def refresh(self) -> None:
        """Forget everything; call when the network has changed."""
        self.known.zero_()

    @torch.no_grad()
    def q(self, index: Tensor, account: Tensor) -> Tensor:
        """Q [B, A] of bars `index` [B] and accounts [B, K]."""
        missing = torch.unique(index[~self.known[index]])
        for part in missing.split(512):
            offsets = torch.arange(1 - self.window, 1)
            h = self.net.encode(self.bars[part.unsqueeze(-1) + offsets])
            if not self.table.numel():
                self.table = h.new_empty(len(self.bars), h.shape[-1])
            self.table[part] = h
            self.known[part] = True
        return self.net.head(self.table[index], account)
