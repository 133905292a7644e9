"""What learning leaves behind: a network and a rule that turns its outputs into actions."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fiduciary.agents import nets, ops
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, Spec

Rule = Callable[[Tensor, Obs, torch.Generator | None], Tensor]
"""(outputs [B, O], observation, generator or None = greedy) -> actions."""


def greedy(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """The legal action with the largest output; ties go to the lower number."""
    return ops.mask_illegal(outputs, obs.legal).argmax(-1)


def categorical(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """Outputs are logits: the likeliest legal action, or a draw."""
    logits = ops.mask_illegal(outputs, obs.legal)
    return logits.argmax(-1) if rng is None else torch.multinomial(logits.softmax(-1), 1, generator=rng).squeeze(-1)


def clamp(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """Outputs are the mean of a Gaussian over the box, cut off at its walls."""
    return outputs[..., : obs.legal.shape[-1]].clamp(-1.0, 1.0)


def squash(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """tanh of the outputs: a deterministic policy, or the mode of a squashed Gaussian."""
    return outputs[..., : obs.legal.shape[-1]].tanh()


def softmax(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """Outputs are scores of the weights: a deterministic policy, or the middle of a logistic normal."""
    return outputs[..., : obs.legal.shape[-1]].double().softmax(-1)


def quantiles(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """Outputs are quantiles of the return, [B, A * Q]: the legal action with the largest mean."""
    return greedy(outputs.unflatten(-1, (obs.legal.shape[-1], -1)).mean(-1), obs, rng)


UTILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "shortfall": lambda x: x.clamp(max=0.0),
    "target": lambda x: -x.abs(),
}
"""f of stock plus return, for policies that see a stock."""


def shortfall(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """Outputs are quantiles of the return: the action that falls least short of the stock's debt, on average."""
    return _by_utility("shortfall", outputs, obs, rng)


def target(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """Outputs are quantiles of the return: the action that brings stock plus return nearest to zero, on average."""
    return _by_utility("target", outputs, obs, rng)


def _by_utility(name: str, outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    z: Tensor = outputs.unflatten(-1, (obs.legal.shape[-1], -1))
    return greedy(UTILITIES[name](obs.account[:, -1:, None] + z).mean(-1), obs, rng)


def dirichlet(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """Outputs give the concentrations 1 + softplus: the mean of that Dirichlet distribution."""
    alpha = 1.0 + torch.nn.functional.softplus(outputs.double())
    return alpha / alpha.sum(-1, keepdim=True)


def dirichlet_mode(outputs: Tensor, obs: Obs, rng: torch.Generator | None) -> Tensor:
    """Outputs give the concentrations 1 + softplus: the likeliest weights, which reach the corners as the mean does not."""
    excess = torch.nn.functional.softplus(outputs.double())
    return excess / excess.sum(-1, keepdim=True)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (greedy, categorical, clamp, squash, softmax, quantiles, shortfall, target, dirichlet, dirichlet_mode)
}
"""Names of rules in policy files."""


@dataclass(frozen=True, eq=False)
class NetPolicy:
    """Feed-forward over the window, so it carries nothing.

    Attributes:
        net: what was learned.
        spec: the problem that it was learned on.
        body: description of the network.
        rule: how outputs become actions.
        outputs: numbers per observation.
        duel: whether the outputs were split into value and advantages.
    """

    net: nets.Net
    spec: Spec
    body: nets.Body
    rule: Rule
    outputs: int
    duel: bool = False

    @torch.no_grad()
    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """The rule's action."""
        return self.rule(self.net.read(obs.world, obs.account), obs, rng), carry

    @torch.no_grad()
    def values(self, obs: Obs) -> Tensor:
        """Outputs [B, O]: of a value-based policy, the values of all actions, legal or not."""
        return self.net.read(obs.world, obs.account)

    def save(self, path: str) -> None:
        """Write weights and description to one safetensors file."""
        from safetensors.torch import save_file

        net = {**nets.describe(self.body), "rule": self.rule.__name__, "outputs": self.outputs, "duel": self.duel}
        save_file(self.net.state_dict(), path, metadata={"net": json.dumps(net), **_problem(self.spec)})


def _problem(spec: Spec) -> dict[str, str]:
    """What a policy was trained to read and to do; the scaling of its features stays with the environment."""
    names = {"features": spec.features, "account": spec.account, "actions": spec.actions, "assets": spec.assets}
    return {**{key: " ".join(value) for key, value in names.items()}, "window": str(spec.window), "space": spec.space}


def load(path: str, spec: Spec) -> NetPolicy:
    """Read a policy that `NetPolicy.save` wrote, for a problem described by `spec`.

    Raises:
        ConfigError: the file holds no policy, or one that was trained on another problem.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} must hold a policy", str(error)) from None
    for key, wanted in _problem(spec).items():
        if meta.get(key) != wanted:
            raise ConfigError(f"a policy must fit its problem's {key} ({wanted})", repr(meta.get(key)))
    description = json.loads(meta["net"])
    rule, outputs, duel = (description.pop(key) for key in ("rule", "outputs", "duel"))
    body = nets.rebuild(description)
    with torch.random.fork_rng(devices=[]):  # first weights are thrown away; nobody else's numbers may move
        net = body.build(spec, outputs, duel=duel)
    net.load_state_dict(weights)
    return NetPolicy(net, spec, body, RULES[rule], outputs, duel)
