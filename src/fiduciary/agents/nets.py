"""Networks in two halves: `encode` reads the world once per bar, `head` joins the account to it.

Splitting them lets one encoding serve every position, every action and every account that stands on the same bar. A body
(`MLP`, `LSTM`, ...) is a frozen description; `body.build(spec, outputs)` makes the network.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fiduciary.agents.ops import dueling
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Spec, View

_ACTIVATIONS: dict[str, Any] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Encoder(nn.Module):
    """Reads windows: [B, W, F] -> [B, size]; `bars` [S, L, F] -> [S, L - W + 1, size] in `stretch`."""

    size: int

    def stretch(self, bars: Tensor, window: int) -> Tensor:
        """Encodings of every bar of contiguous stretches but the first W - 1, which only lead in."""
        windows = bars.unfold(1, window, 1).transpose(-1, -2)
        encoded: Tensor = self(windows.flatten(0, 1))
        return encoded.reshape(*windows.shape[:2], -1)


class Net(nn.Module):
    """Encoder, then dense layers over the encoding h and the account.

    Without hidden layers the only dense layer reads (h, account, h x account): the product lets it value an action
    differently for a holder and for a bystander, where it would otherwise be additive in market and account.

    Attributes:
        shape: sizes of one output row; () for a single number.
    """

    def __init__(self, encoder: Encoder, account: int, head: "Head", *, outputs: int, duel: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.size + account
        layers: list[nn.Module] = []
        for hidden in head.hidden:
            layers += [nn.Linear(width, hidden), _ACTIVATIONS[head.activation]()]
            width = hidden
        self.product = not head.hidden
        self.trunk = nn.Sequential(*layers)
        joined = width + encoder.size * account if self.product else width
        self.outputs = nn.Linear(joined, outputs)
        self.state_value = nn.Linear(joined, 1) if duel else None

    def encode(self, window: Tensor) -> Tensor:
        """[B, W, F] or [B, W, N, F] -> [B, H]."""
        h: Tensor = self.encoder(window.flatten(3).flatten(2) if window.dim() == 4 else window)
        return h

    def stretch(self, bars: Tensor, window: int) -> Tensor:
        """Contiguous bars [S, L, F] or [S, L, N, F] -> encodings of their last L - W + 1, [S, L - W + 1, H]."""
        return self.encoder.stretch(bars.flatten(2), window)

    def head(self, h: Tensor, account: Tensor) -> Tensor:
        """h [..., H] and account [..., K] -> [..., outputs]."""
        joined = torch.cat((h, account), dim=-1)
        if self.product:
            product = (h.unsqueeze(-1) * account.unsqueeze(-2)).flatten(-2)
            joined = torch.cat((joined, product), dim=-1)
        joined = self.trunk(joined)
        out: Tensor = self.outputs(joined)
        return out if self.state_value is None else dueling(self.state_value(joined), out)

    def members(self, h: Tensor, account: Tensor) -> Tensor:
        """As `head`, one row for each member of an ensemble: [E, ..., outputs]; E = 1 here."""
        return self.head(h, account).unsqueeze(0)

    def forward(self, window: Tensor, account: Tensor) -> Tensor:
        """Outputs [B, outputs] of windows [B, W, F] and accounts [B, K]."""
        return self.head(self.encode(window), account)

    def read(self, world: View, account: Tensor) -> Tensor:
        """Outputs [B, outputs]; every bar on which accounts stand is encoded once, however many stand there."""
        return self.head(encode_once(self, world), account)


def encode_once(net: Net, world: View) -> Tensor:
    """h [B, H] of a view; each distinct bar is gathered and encoded once."""
    if not world.bars.shape[-1]:
        return world.bars.new_zeros(len(world.bar), 0)
    bars, place = torch.unique(world.bar, return_inverse=True)
    return net.encode(world._replace(bar=bars).window())[place]


# --- bodies ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """Dense layers between (encoding, account) and the output; none = one dense layer that also reads their product.

    Attributes:
        hidden: widths.
        activation: "relu" or "tanh".
    """

    hidden: tuple[int, ...] = ()
    activation: str = "relu"

    def __post_init__(self) -> None:
        if self.hidden and min(self.hidden) < 1:
            raise ConfigError("the widths of a head must be at least 1", str(self.hidden))
        if self.activation not in _ACTIVATIONS:
            raise ConfigError(f"`activation` must be one of {', '.join(_ACTIVATIONS)}", repr(self.activation))


class Body(Protocol):
    """A description of a network; equal descriptions build equal shapes."""

    def build(self, spec: Spec, outputs: int, *, extra: int = 0, duel: bool = False) -> Net:
        """A freshly initialised network, drawn from torch's global generator.

        Args:
            spec: sizes of world and account.
            outputs: numbers per observation.
            extra: numbers that the head reads beside the account, such as a continuous action.
            duel: split the output into state value and advantages.
        """
        ...


class _Joined(ABC):
    """A body that encodes whole windows and joins the account by its head."""

    head: Head

    @abstractmethod
    def _encoder(self, features: int, window: int) -> Encoder: ...

    def build(self, spec: Spec, outputs: int, *, extra: int = 0, duel: bool = False) -> Net:
        """See `Body.build`."""
        encoder = self._encoder(len(spec.features) * max(1, len(spec.assets)), spec.window)
        return Net(encoder, len(spec.account) + extra, self.head, outputs=outputs, duel=duel)


@dataclass(frozen=True)
class MLP(_Joined):
    """Dense layers over the flattened window; the fastest body, and the one for worlds that show nothing.

    Attributes:
        hidden: widths of the layers over the window.
        head: layers that join the account.
    """

    hidden: tuple[int, ...] = (64,)
    head: Head = Head((64,))

    def __post_init__(self) -> None:
        if self.hidden and min(self.hidden) < 1:
            raise ConfigError("the widths of an MLP must be at least 1", str(self.hidden))

    def _encoder(self, features: int, window: int) -> Encoder:
        return _Dense(features * window, self.hidden, self.head.activation)


@dataclass(frozen=True)
class LSTM(_Joined):
    """Two LSTM layers over the window.

    Attributes:
        first, second: their widths.
        head: layers that join the account.
    """

    first: int = 64
    second: int = 32
    head: Head = Head()

    def __post_init__(self) -> None:
        _demand_widths("an LSTM", self.first, self.second)

    def _encoder(self, features: int, window: int) -> Encoder:
        return _Recurrent(nn.LSTM, features, self.first, self.second)


@dataclass(frozen=True)
class GRU(_Joined):
    """Two GRU layers over the window (Cho et al. 2014); fields as in `LSTM`."""

    first: int = 64
    second: int = 32
    head: Head = Head()

    def __post_init__(self) -> None:
        _demand_widths("a GRU", self.first, self.second)

    def _encoder(self, features: int, window: int) -> Encoder:
        return _Recurrent(nn.GRU, features, self.first, self.second)


@dataclass(frozen=True)
class TCN(_Joined):
    """Causal dilated convolutions with residual connections (Bai et al. 2018, section 3), read at the last bar.

    Attributes:
        channels: width of every layer.
        kernel: bars that one filter spans.
        layers: dilations 1, 2, 4, ...; the receptive field is 1 + (kernel - 1) (2^layers - 1) bars.
        head: layers that join the account.
    """

    channels: int = 32
    kernel: int = 3
    layers: int = 3
    head: Head = Head()

    def __post_init__(self) -> None:
        _demand_widths("a temporal convolution", self.channels, self.kernel, self.layers)

    def _encoder(self, features: int, window: int) -> Encoder:
        return _Convolution(features, self.channels, self.kernel, self.layers)


@dataclass(frozen=True)
class Transformer(_Joined):
    """Transformer encoder over the window (Vaswani et al. 2017), pre-norm, learned positions, read at the last bar.

    Attributes:
        width: of the tokens, a multiple of `heads`.
        heads: attention heads.
        layers: encoder layers; the feed-forward layer is twice as wide.
        head: layers that join the account.
    """

    width: int = 32
    heads: int = 4
    layers: int = 2
    head: Head = Head()

    def __post_init__(self) -> None:
        _demand_widths("a transformer", self.width, self.heads, self.layers)
        if self.width % self.heads:
            raise ConfigError("`width` must be a multiple of `heads`", f"{self.width}, {self.heads}")

    def _encoder(self, features: int, window: int) -> Encoder:
        return _Attention(features, window, self.width, self.heads, self.layers)


@dataclass(frozen=True)
class EIIE:
    """Ensemble of identical independent evaluators (Jiang, Xu, Liang 2017, section 5): one network scores every asset.

    Each asset's own window goes through the same two causal convolutions; its encoding, its weight in the account and what
    stands beside it go through the same dense layer. Relabelling assets relabels scores (permutation equivariance). The
    cash of a simplex gets a score of its own that is learned and depends on nothing.

    Attributes:
        channels: filters of the first layer.
        kernel: bars that they span.
        size: encoding of one asset.
    """

    channels: int = 8
    kernel: int = 3
    size: int = 16

    def __post_init__(self) -> None:
        _demand_widths("an EIIE", self.channels, self.kernel, self.size)

    def build(self, spec: Spec, outputs: int, *, extra: int = 0, duel: bool = False) -> "PerAsset":
        """See `Body.build`; `outputs` is 1 or one for each component of the action, `extra` 0 or the same."""
        actions, assets = len(spec.actions), len(spec.assets)
        plain = spec.space != "discrete" and len(spec.account) == 1 + assets
        if not assets or not plain or outputs not in (1, actions) or extra not in (0, actions) or duel:
            raise ConfigError(
                "an EIIE scores assets: it needs several, an account of exposure and weights, and one output for each "
                "component of the action",
                f"{assets} assets, space {spec.space}, account of {len(spec.account)}, {outputs} outputs, {extra} extra inputs",
                remedy="use another body here, such as LSTM or TCN",
            )
        return PerAsset(self, spec, pooled=outputs == 1, extra=extra > 0)


BODIES: dict[str, Any] = {body.__name__: body for body in (MLP, LSTM, GRU, TCN, Transformer, EIIE)}
"""Names of bodies in policy files."""


AnyBody = MLP | LSTM | GRU | TCN | Transformer | EIIE
"""What a study file may name by `kind`."""


def describe(body: Body) -> dict[str, Any]:
    """A body as plain values, for a file; `rebuild` reads it back."""
    if isinstance(body, Ensemble):
        return {**describe(body.of), "ensemble": body.size}
    return {"body": type(body).__name__, **asdict(body)}  # type: ignore[call-overload]


def rebuild(description: dict[str, Any]) -> Body:
    """The body that `describe` described."""
    if size := description.pop("ensemble", 0):
        return Ensemble(rebuild(description), size)  # type: ignore[arg-type]
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in description.items()}
    if "head" in fields:
        fields["head"] = Head(tuple(fields["head"]["hidden"]), fields["head"]["activation"])
    body: Body = BODIES[fields.pop("body")](**fields)
    return body


def _demand_widths(what: str, *widths: int) -> None:
    if min(widths) < 1:
        raise ConfigError(f"the widths of {what} must be at least 1", ", ".join(map(str, widths)))


# --- encoders --------------------------------------------------------------------------------------------------------


class _Dense(Encoder):
    def __init__(self, inputs: int, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__()
        hidden = hidden if inputs else ()  # a world that shows nothing has nothing to encode
        self.size = hidden[-1] if hidden else inputs
        layers: list[nn.Module] = []
        for before, after in zip((inputs, *hidden), hidden, strict=False):
            layers += [nn.Linear(before, after), _ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers)

    def forward(self, window: Tensor) -> Tensor:
        out: Tensor = self.layers(window.flatten(1))
        return out


class _Recurrent(Encoder):
    def __init__(self, cell: type[nn.LSTM | nn.GRU], features: int, first: int, second: int) -> None:
        super().__init__()
        self.size = second
        self.first = cell(features, first, batch_first=True)
        self.second = cell(first, second, batch_first=True)

    def forward(self, window: Tensor) -> Tensor:
        return self._every(window)[:, -1]

    def stretch(self, bars: Tensor, window: int) -> Tensor:
        """One pass, the state carried from the head of the stretch: equal to the windowed form at the first encoding only."""
        return self._every(bars)[:, window - 1 :]

    def _every(self, bars: Tensor) -> Tensor:
        above: Tensor = self.second(self.first(bars)[0])[0]
        return above


class _Convolution(Encoder):
    def __init__(self, features: int, channels: int, kernel: int, layers: int) -> None:
        super().__init__()
        self.size = channels
        self.inward = nn.Conv1d(features, channels, 1)
        self.reach = [(kernel - 1) * 2**layer for layer in range(layers)]
        self.filters = nn.ModuleList(nn.Conv1d(channels, channels, kernel, dilation=2**k) for k in range(layers))

    def forward(self, window: Tensor) -> Tensor:
        x = self.inward(window.transpose(1, 2))
        for reach, layer in zip(self.reach, self.filters, strict=True):
            x = x + torch.relu(layer(nn.functional.pad(x, (reach, 0))))
        last: Tensor = x[..., -1]
        return last


class _Attention(Encoder):
    def __init__(self, features: int, window: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.size = width
        self.inward = nn.Linear(features, width)
        self.place = nn.Parameter(0.02 * torch.randn(window, width))
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, window: Tensor) -> Tensor:
        read: Tensor = self.layers(self.inward(window) + self.place)
        return read[:, -1]


class PerAsset(Net):
    """The network of `EIIE`; the account's features are (exposure, N weights)."""

    def __init__(self, body: EIIE, spec: Spec, *, pooled: bool, extra: bool) -> None:
        nn.Module.__init__(self)
        self.assets, self.pooled, self.cash = len(spec.assets), pooled, spec.space == "simplex"
        self.first = nn.Conv1d(len(spec.features), body.channels, min(body.kernel, spec.window))
        self.second = nn.Conv1d(body.channels, body.size, spec.window - min(body.kernel, spec.window) + 1)
        self.score = nn.Linear(body.size + 1 + extra, 1)
        self.cash_score = nn.Parameter(torch.zeros(1))

    def encode(self, window: Tensor) -> Tensor:
        """[B, W, N, F] -> [B, N * size]."""
        each = window.permute(0, 2, 3, 1).flatten(0, 1)
        h: Tensor = torch.relu(self.second(torch.relu(self.first(each))))
        return h.reshape(len(window), -1)

    def stretch(self, bars: Tensor, window: int) -> Tensor:
        """Contiguous bars [S, L, N, F] -> [S, L - W + 1, N * size]."""
        windows = bars.unfold(1, window, 1).movedim(-1, 2)
        return self.encode(windows.flatten(0, 1)).reshape(*windows.shape[:2], -1)

    def head(self, h: Tensor, account: Tensor) -> Tensor:
        """h [..., N * size] and account [..., 1 + N (+ extra)] -> [..., A], or [..., 1] pooled."""
        n = self.assets
        parts = [h.unflatten(-1, (n, -1)), account[..., 1 : 1 + n, None]]
        if account.shape[-1] > 1 + n:
            parts.append(account[..., -n:, None])
        scores = self.score(torch.cat(parts, dim=-1)).squeeze(-1)
        if self.pooled:
            pooled: Tensor = scores.mean(-1, keepdim=True)
            return pooled
        return torch.cat((self.cash_score.expand(*scores.shape[:-1], 1), scores), dim=-1) if self.cash else scores


@dataclass(frozen=True)
class Ensemble:
    """Several networks of one description, initialised apart, whose mean is the output.

    Attributes:
        of: description of each.
        size: how many.
    """

    of: AnyBody
    size: int

    def build(self, spec: Spec, outputs: int, *, extra: int = 0, duel: bool = False) -> Net:
        """See `Body.build`."""
        return _Several([self.of.build(spec, outputs, extra=extra, duel=duel) for _ in range(self.size)])


class _Several(Net):
    def __init__(self, nets: list[Net]) -> None:
        nn.Module.__init__(self)
        self.nets = nn.ModuleList(nets)

    def encode(self, window: Tensor) -> Tensor:
        return torch.cat([net.encode(window) for net in self._each()], dim=-1)

    def stretch(self, bars: Tensor, window: int) -> Tensor:
        return torch.cat([net.stretch(bars, window) for net in self._each()], dim=-1)

    def members(self, h: Tensor, account: Tensor) -> Tensor:
        parts = h.chunk(len(self.nets), dim=-1)
        return torch.stack([net.head(part, account) for net, part in zip(self._each(), parts, strict=True)])

    def head(self, h: Tensor, account: Tensor) -> Tensor:
        return self.members(h, account).mean(0)

    def _each(self) -> list[Net]:
        return list(self.nets)  # type: ignore[arg-type]


class Encodings:
    """What a frozen network makes of each bar, computed when a bar is first asked for and kept until `refresh`.

    A world of M bars costs M encodings per refresh, however many accounts and updates read them.
    """

    def __init__(self, net: Net, world: View) -> None:
        self.net, self.world = net, world
        self.known = torch.zeros(len(world.bars), dtype=torch.bool, device=world.bars.device)
        self.table = world.bars.new_empty(0)

    def refresh(self) -> None:
        """Forget everything; call when the network has changed."""
        self.known.zero_()

    @torch.no_grad()
    def read(self, index: Tensor, account: Tensor) -> Tensor:
        """Outputs of bars `index` [B] and accounts [B, K]."""
        missing = torch.unique(index[~self.known[index]])
        for part in missing.split(512):
            h = encode_once(self.net, self.world._replace(bar=part))
            if not self.table.numel():
                self.table = h.new_empty(len(self.world.bars), h.shape[-1])
            self.table[part] = h
            self.known[part] = True
        return self.net.head(self.table[index], account)
