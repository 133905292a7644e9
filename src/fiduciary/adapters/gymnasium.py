"""Any of our environments as a Gymnasium `Env` (one account) or `VectorEnv` (B accounts, one call a step).

    observation    "flat": [D] float32, the world's window (oldest bar first), the account and the legal mask end to end;
                   "dict": the same three under "world" [W, F] or [W, N, F], "account" [K] and "legal" [A].
    action         discrete: Discrete(A); box: Box(-1, 1, [A]); simplex: Box(-1, 1, [A]), from which the adapter makes

                       w_i = (a_i + 1) / sum_j (a_j + 1)          equal weights where every a_j is -1

                   so that a Gaussian policy reaches every portfolio, the corners included.
    terminated     discount 0: the problem ended, nothing follows. truncated: the episode ends and the value goes on.
    info           wealth [money], fees [money, never positive: commissions, duties and slippage of the step],
                   day [days since 1970-01-01].

All randomness comes from `reset(seed=...)`. An action that is not legal does what the environment does with it (ours hold);
`action_masks` tells which are. Sources: Gymnasium 1.x API; Towers et al. 2024, arXiv:2407.17032.
"""

import math
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.adapters import missing
from fiduciary.core import trees
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Env, Obs, Spec, Step

try:
    import gymnasium as gym
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as error:
    raise missing("gymnasium") from error

Observation = Literal["flat", "dict"]
Arrays = NDArray[np.float32] | dict[str, NDArray[Any]]


# --- spaces ----------------------------------------------------------------------------------------------------------


def observation_space(spec: Spec, observation: Observation) -> spaces.Space[Any]:
    """What one account shows: a `Box` [D], or a `Dict` with "world" (where it has features), "account" and "legal".

    Raises:
        ConfigError: `observation` is neither "flat" nor "dict".
    """
    if observation not in get_args(Observation):
        raise ConfigError(f"`observation` must be one of {', '.join(get_args(Observation))}", repr(observation))
    assets = (len(spec.assets),) if spec.assets else ()
    world, account, legal = (spec.window, *assets, len(spec.features)), (len(spec.account),), (len(spec.actions),)
    if observation == "flat":
        return _numbers((math.prod(world) + account[0] + legal[0],))
    shown = {"world": _numbers(world)} if spec.features else {}
    return spaces.Dict({**shown, "account": _numbers(account), "legal": spaces.MultiBinary(legal)})


def action_space(spec: Spec) -> spaces.Space[Any]:
    """What one account is told: `Discrete` (A), or `Box` [A] in [-1, 1]."""
    a = len(spec.actions)
    return spaces.Discrete(a) if spec.space == "discrete" else spaces.Box(-1.0, 1.0, (a,), np.float32)


def arrays(obs: Obs, space: spaces.Space[Any]) -> Arrays:
    """What B accounts see as arrays of `space`: [B, D], or a dict of [B, ...]; always fresh memory."""
    if isinstance(space, spaces.Dict):
        shown = {"world": obs.world.window()} if "world" in space.spaces else {}
        parts = {**shown, "account": obs.account.clone(), "legal": obs.legal.to(torch.int8)}
        return {name: parts[name].numpy(force=True) for name in space.spaces}
    shape = (obs.world.length, *obs.world.bars.shape[1:])
    widths = [math.prod(shape), obs.account.shape[-1], obs.legal.shape[-1]]
    flat = torch.empty(len(obs.account), sum(widths), device=obs.account.device)
    world, account, legal = flat.split(widths, dim=-1)
    obs.world.window(out=world.unflatten(-1, shape))  # straight into its place: a second copy costs as much as the step
    account.copy_(obs.account)
    legal.copy_(obs.legal)
    out: NDArray[np.float32] = flat.numpy(force=True)
    return out


def native(spec: Spec, action: Any, device: torch.device) -> Tensor:
    """Actions [B] or [B, A] of the Gymnasium space as actions of the problem's own space, on `device`."""
    if spec.space == "discrete":
        return torch.as_tensor(action, dtype=torch.int64, device=device)
    box = torch.as_tensor(action, dtype=torch.float64, device=device).clamp(-1.0, 1.0)
    if spec.space == "box":
        return box
    weight = box + 1.0
    weight = torch.where(weight.sum(-1, keepdim=True) > 0, weight, 1.0)
    return weight / weight.sum(-1, keepdim=True)


# --- environments ----------------------------------------------------------------------------------------------------


class GymEnv(gym.Env[Any, Any]):
    """One account of a problem.

    Args:
        problem: any environment of ours.
        account: which account of a batch: problems may give account after account a world of its own.
        observation: "flat" or "dict".

    `reset(options={"state": ...})` opens on a given state of the problem (batch of one) instead of a drawn one.
    """

    def __init__(self, problem: Env[Any], *, account: int = 0, observation: Observation = "flat") -> None:
        self.problem, self.account, self.metadata = problem, account, {"render_modes": []}
        self.observation_space = observation_space(problem.spec, observation)
        self.action_space = action_space(problem.spec)
        self._state: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Arrays, dict[str, Any]]:
        """Open the account in a world drawn from `seed`, or from where the last draw left off."""
        super().reset(seed=seed)
        state = (options or {}).get("state")
        if state is None:
            state = trees.pick(self.problem.init(self.account + 1, _generator(self.np_random)), self.account)
        self._state = state
        return self._observe(), _first(_info(self.problem, state))

    def step(self, action: Any) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Take one action, an integer or [A]."""
        one = np.asarray(action)[None]
        now = _opened(self._state)
        self._state, step = self.problem.step(now, native(self.problem.spec, one, _device(now)))
        (reward,), (terminated,), (truncated,) = _outcome(step)
        info = _first(_info(self.problem, self._state, step))
        return self._observe(), float(reward), bool(terminated), bool(truncated), info

    def action_masks(self) -> NDArray[np.bool_]:
        """[A] bool, actions that are legal now; what sb3-contrib's MaskablePPO asks for."""
        mask: NDArray[np.bool_] = _mask(self.problem, self._state)[0]
        return mask

    def _observe(self) -> Arrays:
        obs: Arrays = _first(arrays(self.problem.observe(self._state), self.observation_space))
        return obs


class GymVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """B accounts of a problem side by side: one batched step, no Python per account.

    An account that ends is opened again in the same step (`AutoresetMode.SAME_STEP`): the observation returned is the first
    of the new episode, the last of the old one is in `info["final_obs"]`, its figures in `info["final_info"]`. Account b
    keeps its place in the batch, hence its world where the problem gives worlds out by place.

    Args:
        problem: any environment of ours.
        num_envs: B.
        observation: "flat" or "dict".

    `reset(options={"state": ...})` opens on a given state of the problem (batch of B) instead of a drawn one.
    """

    def __init__(self, problem: Env[Any], num_envs: int, *, observation: Observation = "flat") -> None:
        if num_envs < 1:
            raise ConfigError("`num_envs` must be at least 1", repr(num_envs))
        self.problem, self.num_envs = problem, num_envs
        self.autoreset_mode = AutoresetMode.SAME_STEP
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space(problem.spec, observation)
        self.single_action_space = action_space(problem.spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: Any = None
        self._fresh: Any = None
        self._used = torch.ones(num_envs, dtype=torch.bool)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Arrays, dict[str, Any]]:
        """Open all accounts in worlds drawn from `seed`, or from where the last draw left off."""
        super().reset(seed=seed)
        self._used = torch.ones_like(self._used)
        state = (options or {}).get("state")
        self._state = self._openings(self._used) if state is None else state
        return self._observe(), self._batched(_info(self.problem, self._state))

    def step(
        self, actions: Any
    ) -> tuple[Arrays, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Take B actions, [B] integers or [B, A]; returns observations, rewards, terminations, truncations and infos."""
        now = _opened(self._state)
        ended, step = self.problem.step(now, native(self.problem.spec, actions, _device(now)))
        reward, terminated, truncated = _outcome(step)
        self._state, info, last = ended, _info(self.problem, ended, step), terminated | truncated
        if not last.any():
            return self._observe(), reward, terminated, truncated, self._batched(info)
        ends = torch.as_tensor(last, device=_device(ended))
        final: dict[str, Any] = {"final_obs": self._last_seen(ended, ends), "_final_obs": last}
        final |= {"final_info": _where(last, info), "_final_info": last}
        self._state = trees.where(ends, self._openings(ends), ended)
        anew = _info(self.problem, self._state)
        info = {name: np.where(last, anew[name], info[name]) for name in info}
        return self._observe(), reward, terminated, truncated, self._batched(info) | final

    def action_masks(self) -> NDArray[np.bool_]:
        """[B, A] bool, actions that are legal now."""
        return _mask(self.problem, self._state)

    def _observe(self) -> Arrays:
        return arrays(self.problem.observe(self._state), self.single_observation_space)

    def _last_seen(self, ended: Any, ends: Tensor) -> NDArray[np.object_]:
        """[B] objects: the observation of each account that ended, None elsewhere."""
        only = trees.rebuild(ended, [leaf[ends] for leaf in trees.leaves(ended)])
        seen, out = arrays(self.problem.observe(only), self.single_observation_space), np.full(len(ends), None)
        for k, b in enumerate(ends.nonzero().flatten().tolist()):
            out[b] = {name: part[k] for name, part in seen.items()} if isinstance(seen, dict) else seen[k]
        return out

    def _openings(self, wanted: Tensor) -> Any:
        """A batch whose accounts `wanted` [B] have not been used; drawn whole, and anew only when one has."""
        used = self._used.to(wanted.device)
        if bool((used & wanted).any()):
            self._fresh, used = self.problem.init(self.num_envs, _generator(self.np_random)), torch.zeros_like(used)
        self._used = used | wanted
        return self._fresh

    def _batched(self, info: dict[str, NDArray[Any]]) -> dict[str, Any]:
        return _where(np.ones(self.num_envs, dtype=np.bool_), info)


# --- internals -------------------------------------------------------------------------------------------------------


def _numbers(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def _generator(rng: np.random.Generator) -> torch.Generator:
    """A torch stream seeded by Gymnasium's own, so that `reset(seed=...)` fixes everything."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


def _opened(state: Any) -> Any:
    if state is None:
        raise gym.error.ResetNeeded("Call `reset` first: no account is open.")
    return state


def _device(state: Any) -> torch.device:
    return trees.leaves(state)[0].device


def _mask(problem: Env[Any], state: Any) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = problem.observe(_opened(state)).legal.clone().numpy(force=True)
    return mask


def _outcome(step: Step) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Reward, terminated and truncated, [B] each."""
    terminated = step.discount == 0
    truncated = step.last & ~terminated
    return step.reward.numpy(force=True), terminated.numpy(force=True), truncated.numpy(force=True)


def _info(problem: Env[Any], state: Any, step: Step | None = None) -> dict[str, NDArray[Any]]:
    """Wealth, fees of `step` (none yet at an opening) and day, [B] each."""
    wealth: NDArray[Any] = problem.wealth(state).numpy(force=True)
    fees = np.zeros_like(wealth) if step is None else (step.ledger.fees + step.ledger.impact).numpy(force=True)
    return {"wealth": wealth, "fees": fees, "day": problem.when(state).numpy(force=True)}


def _first(batch: Any) -> Any:
    """Account 0 of an array, or of each of a dict of them."""
    return {name: part[0] for name, part in batch.items()} if isinstance(batch, dict) else batch[0]


def _where(mask: NDArray[np.bool_], info: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Gymnasium's form of batched infos: beside every array [B] the mask of the accounts that it speaks of."""
    out: dict[str, Any] = {}
    for name, column in info.items():
        out[name], out[f"_{name}"] = np.where(mask, column, np.zeros_like(column)), mask
    return out
