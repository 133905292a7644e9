"""Stable-Baselines3: train its algorithms on batches of our accounts, and put its models into our policy slot.

Sources: Raffin et al. 2021, JMLR 22(268), and the `VecEnv` contract of Stable-Baselines3 2.x: an episode that ends is
opened again in the same step, its last observation is `info["terminal_observation"]`, and `info["TimeLimit.truncated"]` says
that its value goes on.
"""

import copy
import hashlib
import io
from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical

from fiduciary.adapters import missing
from fiduciary.adapters.gymnasium import GymVectorEnv, Observation, action_space, arrays, native, observation_space
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Spec

try:
    from gymnasium import spaces
    from stable_baselines3 import A2C, DQN, PPO
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
    from stable_baselines3.common.vec_env import VecEnv, VecNormalize
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn
    from stable_baselines3.dqn.policies import DQNPolicy
except ModuleNotFoundError as error:
    raise missing("stable-baselines3") from error


class SB3VecEnv(VecEnv):
    """B accounts of a problem as the vector environment of Stable-Baselines3: one batched step, no Python per account.

    Spaces are those of `fiduciary.adapters.gymnasium`. The last `info` of an episode also holds wealth, fees and day.

    Args:
        problem: any environment of ours.
        num_envs: B.
        observation: "flat" for `MlpPolicy`, "dict" for `MultiInputPolicy`.
    """

    def __init__(self, problem: Env[Any], num_envs: int, *, observation: Observation = "flat") -> None:
        self.accounts = GymVectorEnv(problem, num_envs, observation=observation)
        self._actions = np.zeros(0)
        super().__init__(num_envs, self.accounts.single_observation_space, self.accounts.single_action_space)

    def reset(self) -> VecEnvObs:
        """Open all accounts in worlds drawn from the first of the seeds given to `seed`, each seed used once."""
        obs, _ = self.accounts.reset(seed=self._seeds[0], options=self._options[0])
        self._reset_seeds()
        self._reset_options()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Take note of B actions."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Take them: observations, rewards [B] float32, ends [B] and one info for each account."""
        obs, reward, terminated, truncated, info = self.accounts.step(self._actions)
        last = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for b in np.flatnonzero(last):
            infos[b] = {name: info["final_info"][name][b] for name in ("wealth", "fees", "day")}
            infos[b] |= {"terminal_observation": info["final_obs"][b], "TimeLimit.truncated": bool(truncated[b])}
        return obs, reward.astype(np.float32), last, infos

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The batch's attribute, once for each account asked for."""
        return [getattr(self.accounts, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Accounts of one batch share everything.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("accounts of a batch have no attributes of their own", f"`{attr_name}` to set")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the batch that returns one value for each account, such as `action_masks`."""
        every = getattr(self.accounts, method_name)(*method_args, **method_kwargs)
        return [every[b] for b in self._chosen(indices)]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Never: there are no single environments to wrap."""
        return [False] * len(self._chosen(indices))

    def _chosen(self, indices: VecEnvIndices) -> Sequence[int]:
        return list(self._get_indices(indices))


@dataclass(frozen=True, eq=False)
class SB3Policy:
    """A trained model as a policy of ours: a copy of it, so that further training moves no policy that has been judged.

    Greedy, PPO and A2C take the legal action of the highest probability, DQN that of the highest value; explored, the former
    draw from the legal probabilities and DQN stays greedy. Other models predict as they do, and where that is not legal
    the first legal action takes its place: in our problems, to hold. Statistics of a `VecNormalize` are applied.

    Args:
        model: any trained Stable-Baselines3 (or sb3-contrib) model.
        spec: of the problem that it was trained on.
        masked: the model predicts under a mask of legal actions, as sb3-contrib's MaskablePPO does.

    Attributes:
        weights: SHA-256 of all parameters and statistics, for the record.
        policy: the network that decides.
        normalize: the statistics of its observations, or None.

    Raises:
        ConfigError: the model sees or does something else than the problem shows or takes.
    """

    model: InitVar[BaseAlgorithm]
    spec: Spec
    _: KW_ONLY
    masked: bool = False
    weights: str = field(init=False)
    policy: BasePolicy = field(init=False, repr=False, metadata={"identity": False})
    normalize: VecNormalize | None = field(init=False, repr=False, metadata={"identity": False})
    scored: bool = field(init=False, repr=False)

    def __post_init__(self, model: BaseAlgorithm) -> None:
        seen, done = model.observation_space, model.action_space
        shown = observation_space(self.spec, "dict" if isinstance(seen, spaces.Dict) else "flat")
        for what, ours, theirs in (("see", shown, seen), ("do", action_space(self.spec), done)):
            if not _alike(ours, theirs):
                raise ConfigError(
                    f"a model must {what} what {self.spec.name} gives it: {ours}", str(theirs),
                    cause="it was trained on another problem, or through a wrapper that changes the space",
                )  # fmt: skip
        normalize = model.get_vec_normalize_env()
        for name, value in (
            ("policy", _copy(model.policy)), ("normalize", copy.deepcopy(normalize)),
            ("weights", _digest(model.policy, normalize)), ("scored", isinstance(model, PPO | A2C | DQN)),
        ):  # fmt: skip
            object.__setattr__(self, name, value)
        self.policy.set_training_mode(False)

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Legal actions of the problem's space; `carry` is the memory of a recurrent model."""
        x: Any = arrays(obs, self.policy.observation_space)
        x = x if self.normalize is None else self.normalize.normalize_obs(x)
        if self.scored and self.spec.space == "discrete":
            return self._best_legal(x, obs.legal, rng), carry
        action, carry = self._predict(x, obs.legal, carry, rng)
        chosen = native(self.spec, action, obs.legal.device)
        if self.spec.space != "discrete":
            return chosen, carry
        allowed = obs.legal.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
        return torch.where(allowed, chosen, obs.legal.int().argmax(-1)), carry

    def _best_legal(self, x: Any, legal: Tensor, rng: torch.Generator | None) -> Tensor:
        scores = self._scores(x).to(legal.device).masked_fill(~legal, -torch.inf)
        if rng is None or isinstance(self.policy, DQNPolicy):
            return scores.argmax(-1)
        return torch.multinomial(scores.softmax(-1), 1, generator=rng).squeeze(-1)

    @torch.no_grad()
    def _scores(self, x: Any) -> Tensor:
        """[B, A]: values of the actions, or their unnormalised log probabilities."""
        seen, _ = self.policy.obs_to_tensor(x)
        if isinstance(self.policy, DQNPolicy):
            values: Tensor = self.policy.q_net(seen)
            return values
        chances = cast(Categorical, cast(ActorCriticPolicy, self.policy).get_distribution(seen).distribution)
        logits: Tensor = chances.logits
        return logits

    def _predict(self, x: Any, legal: Tensor, carry: Any, rng: torch.Generator | None) -> tuple[Any, Any]:
        mask = {"action_masks": legal.numpy(force=True)} if self.masked else {}
        if rng is None:
            return self.policy.predict(x, carry, deterministic=True, **mask)
        # Models draw from PyTorch's global stream: give them ours for the length of one call.
        device = self.policy.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**62, (), generator=rng, device=rng.device)))
            return self.policy.predict(x, carry, deterministic=False, **mask)


# --- internals -------------------------------------------------------------------------------------------------------


def _alike(ours: spaces.Space[Any], theirs: spaces.Space[Any]) -> bool:
    """Equal shapes and kinds; bounds of observations may differ, as `VecNormalize` changes them."""
    if isinstance(ours, spaces.Dict) and isinstance(theirs, spaces.Dict):
        return ours.keys() == theirs.keys() and all(_alike(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, spaces.Discrete):
        return ours == theirs
    return ours.shape == theirs.shape


def _copy(policy: BasePolicy) -> BasePolicy:
    """Through Stable-Baselines3's own file format: a trained policy clings to the graph of its last loss."""
    file: Any = io.BytesIO()
    policy.save(file)
    file.seek(0)
    return type(policy).load(file, device=policy.device)


def _digest(policy: BasePolicy, normalize: VecNormalize | None) -> str:
    """SHA-256 of everything that was learned."""
    total = hashlib.sha256(type(policy).__name__.encode())
    for name, value in policy.state_dict().items():
        total.update(name.encode() + value.numpy(force=True).tobytes())
    if normalize is not None and normalize.norm_obs:
        known = normalize.obs_rms if isinstance(normalize.obs_rms, dict) else {"": normalize.obs_rms}
        total.update(f"{normalize.clip_obs} {normalize.epsilon}".encode())
        for name, one in known.items():
            total.update(name.encode() + one.mean.tobytes() + one.var.tobytes())
    return total.hexdigest()
