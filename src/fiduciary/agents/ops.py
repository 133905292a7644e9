"""Losses and targets as pure functions of tensors; one line of mathematics each."""

import torch
from torch import Tensor


def td_target(r_t: Tensor, discount_t: Tensor, q_t: Tensor, legal_t: Tensor) -> Tensor:
    """y = r_t + discount_t * max_a' Q'(s_t, a') over legal actions (Mnih et al. 2015, algorithm 1).

    Args:
        r_t: [B] reward of the step from t-1 to t.
        discount_t: [B] gamma, or 0 where the step terminated.
        q_t: [B, A] values of the frozen network at t.
        legal_t: [B, A] bool.

    Returns:
        [B]
    """
    return r_t + discount_t * mask_illegal(q_t, legal_t).amax(-1)


def double_td_target(r_t: Tensor, discount_t: Tensor, q_t: Tensor, q_online_t: Tensor, legal_t: Tensor) -> Tensor:
    """y = r_t + discount_t * Q'(s_t, argmax_a' Q(s_t, a')) (van Hasselt et al. 2016, equation 4)."""
    best = mask_illegal(q_online_t, legal_t).argmax(-1, keepdim=True)
    return r_t + discount_t * q_t.gather(-1, best).squeeze(-1)


def squared_td_loss(q_tm1: Tensor, a_tm1: Tensor, y: Tensor) -> Tensor:
    """L = (1/B) sum (y - Q(s_tm1, a_tm1))^2 (card 1.1, equation 5); no gradient flows into y."""
    q_a = q_tm1.gather(-1, a_tm1.unsqueeze(-1)).squeeze(-1)
    return torch.mean((y.detach() - q_a) ** 2)


def dueling(value: Tensor, advantage: Tensor) -> Tensor:
    """Q = V + A - mean_a A (Wang et al. 2016, equation 9). value [B, 1], advantage [B, A] -> [B, A]."""
    return value + advantage - advantage.mean(-1, keepdim=True)


def epsilon_greedy(q: Tensor, legal: Tensor, epsilon: float, rng: torch.Generator) -> Tensor:
    """With probability 1 - epsilon the best legal action, else one drawn uniformly from the legal ones; [B] int64."""
    greedy = mask_illegal(q, legal).argmax(-1)
    uniform = torch.multinomial(legal.float(), 1, generator=rng).squeeze(-1)
    explore = torch.rand(greedy.shape, generator=rng, device=rng.device) < epsilon
    return torch.where(explore, uniform, greedy)


def mask_illegal(q: Tensor, legal: Tensor) -> Tensor:
    """Values [B, A] with -inf where an action is illegal."""
    return q.masked_fill(~legal, -torch.inf)
