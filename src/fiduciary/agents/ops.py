"""Losses and targets as pure functions of tensors; one line of mathematics each."""

import math

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


def gae(r_t: Tensor, discount_t: Tensor, v_tm1: Tensor, v_t: Tensor, last_t: Tensor, *, trace: float) -> Tensor:
    """Generalised advantages (Schulman et al. 2016, equation 16), episode by episode.

        delta_t = r_t + discount_t v_t - v_tm1,      A_tm1 = delta_t + trace discount_t A_t      (A_t = 0 after a last step)

    Args:
        r_t: [T, B] reward of the step from t-1 to t.
        discount_t: [T, B] gamma, or 0 where the step terminated.
        v_tm1: [T, B] values of where the step began.
        v_t: [T, B] values of what it led to; of a truncated episode, of its own last state.
        last_t: [T, B] bool, the episode ended with this step.
        trace: lambda; 0 = one step, 1 = the whole episode.

    Returns:
        [T, B] A_tm1
    """
    advantage, carry = torch.empty_like(r_t), trace * discount_t * ~last_t
    delta, following = r_t + discount_t * v_t - v_tm1, torch.zeros_like(r_t[0])
    for t in reversed(range(len(r_t))):
        following = torch.addcmul(delta[t], carry[t], following, out=advantage[t])
    return advantage


def clipped_surrogate(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """L = -mean min(rho A, clamp(rho, 1 - clip, 1 + clip) A) (Schulman et al. 2017, equation 7). [B], [B] -> scalar.

    Args:
        log_ratio: log rho, of the probabilities of the action taken, new over old.
        advantage: A.
        clip: epsilon; infinity = the plain policy gradient, at rho = 1.
    """
    rho = log_ratio.exp()
    return -torch.minimum(rho * advantage, rho.clamp(1.0 - clip, 1.0 + clip) * advantage).mean()


def clipped_value_loss(v: Tensor, v_old: Tensor, target: Tensor, clip: float) -> Tensor:
    """L = mean max((v - y)^2, (v_old + clamp(v - v_old, -clip, clip) - y)^2) (Engstrom et al. 2020, section 3). -> scalar."""
    near = v_old + (v - v_old).clamp(-clip, clip)
    return torch.maximum((v - target) ** 2, (near - target) ** 2).mean()


def n_step_return(r: Tensor, discount: Tensor, live: Tensor) -> tuple[Tensor, Tensor]:
    """R = sum_k (prod_{j<k} discount_j) r_k and the discount of what follows, prod_k discount_k, over live steps.

    Sutton and Barto (2018, equation 7.1) with a discount for each step, so that a terminated step ends the sum.

    Args:
        r: [B, n] rewards, oldest first.
        discount: [B, n] gamma, or 0 where that step terminated.
        live: [B, n] bool, true up to the last step that counts; the first always does.

    Returns:
        [B], [B]
    """
    through = torch.where(live, discount, 1.0).cumprod(-1)
    before = torch.cat((torch.ones_like(through[:, :1]), through[:, :-1]), dim=-1)
    return torch.where(live, before * r, 0.0).sum(-1), through[:, -1]


def quantile_td_target(r_t: Tensor, discount_t: Tensor, z_t: Tensor, q_t: Tensor, legal_t: Tensor) -> Tensor:
    """y_j = r_t + discount_t * z'_j(s_t, argmax_a' q(s_t, a')) (Dabney et al. 2018, algorithm 1).

    With a single quantile, which then stands for the mean, it is `td_target` where q is the frozen network's own mean, and
    `double_td_target` where q is the online network's.

    Args:
        r_t, discount_t: [B], as in `td_target`.
        z_t: [B, A, N] quantiles of the frozen network at t.
        q_t: [B, A] values that choose the action.
        legal_t: [B, A] bool.

    Returns:
        [B, N]
    """
    best = mask_illegal(q_t, legal_t).argmax(-1)
    z_best = z_t[torch.arange(len(best), device=best.device), best]
    return r_t.unsqueeze(-1) + discount_t.unsqueeze(-1) * z_best


def quantile_huber_loss(z_tm1: Tensor, y: Tensor, kappa: float) -> Tensor:
    """sum_i mean_j |tau_i - 1{u_ij < 0}| L(u_ij) / kappa, u_ij = y_j - z_i (Dabney et al. 2018, equations 9, 10).

    L is Huber's loss with threshold kappa, tau_i = (2 i - 1) / (2 N) the midpoints of N equal shares; no gradient flows
    into y. Divided by kappa (as in Dabney et al. 2018b, equation 3) the slopes of all kappa agree.

    Args:
        z_tm1: [B, N] quantiles.
        y: [B, M] samples of the target.
        kappa: threshold, above 0.

    Returns:
        [B]
    """
    n = z_tm1.shape[-1]
    tau = (torch.arange(n, device=z_tm1.device, dtype=z_tm1.dtype) + 0.5) / n
    u = y.detach().unsqueeze(-2) - z_tm1.unsqueeze(-1)
    size = u.abs()
    huber = torch.where(size <= kappa, 0.5 * u**2, kappa * (size - 0.5 * kappa))
    return ((tau.unsqueeze(-1) - (u < 0).to(u.dtype)).abs() * huber / kappa).mean(-1).sum(-1)


def sequence_priority(error: Tensor, counts: Tensor) -> Tensor:
    """p = 0.9 max_t |error_t| + 0.1 mean_t |error_t| over the steps that count (Kapturowski et al. 2019, section 2.3).

    Args:
        error: [S, L] errors of S sequences, finite.
        counts: [S, L] bool; at least one of each sequence.

    Returns:
        [S]; of sequences of one step, |error|.
    """
    size = error.abs() * counts
    return 0.9 * size.amax(-1) + 0.1 * size.sum(-1) / counts.sum(-1)


def worst_mean(x: Tensor, tail: float) -> Tensor:
    """Mean of the worst share `tail` of x [B]: the empirical CVaR of Rockafellar and Uryasev (2000); scalar.

    With k = tail B, the whole of the floor(k) smallest and the fraction k - floor(k) of the next one.
    """
    k = tail * len(x)
    rank = torch.arange(len(x), dtype=x.dtype, device=x.device)
    return (x.sort().values * (k - rank).clamp(0.0, 1.0)).sum() / k


def differential_sharpe(r: Tensor, moments: Tensor, eta: float, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Mean differential Sharpe ratio over T steps and the moments after them (Moody and Saffell 1998, equations 6 to 8).

        D_t = (B_tm1 dA_t - A_tm1 dB_t / 2) / (B_tm1 - A_tm1^2)^(3/2),  dA_t = r_t - A_tm1,  dB_t = r_t^2 - B_tm1
        A_t = A_tm1 + eta dA_t,  B_t = B_tm1 + eta dB_t        without gradient: D_t is steered by r_t alone

    Args:
        r: [T, B] returns.
        moments: [2, B], A and B at the start; B > A^2.
        eta: rate of forgetting.
        alive: [T, B] bool, steps that count.

    Returns:
        Scalar, and [2, B] without gradient.
    """
    a, b = moments
    total = r.new_zeros(())
    for r_t, on in zip(r, alive, strict=True):
        da, db = r_t - a, r_t**2 - b
        spread = (b - a**2).clamp(min=1e-8)
        total = total + torch.where(on, (b * da - 0.5 * a * db) / spread**1.5, 0.0).sum()
        a, b = (torch.where(on, x + eta * dx.detach(), x) for x, dx in ((a, da), (b, db)))
    return total / alive.sum(), torch.stack((a, b))


def min_td_target(r_t: Tensor, discount_t: Tensor, q_t: Tensor) -> Tensor:
    """y = r_t + discount_t * min_c Q'_c(s_t, a_t) (Fujimoto et al. 2018, equation 10; one critic: Lillicrap et al. 2016).

    Args:
        r_t: [B] reward of the step from t-1 to t.
        discount_t: [B] gamma, or 0 where the step terminated.
        q_t: [C, B] values of the frozen critics for the action that the policy would take at t.

    Returns:
        [B]
    """
    return r_t + discount_t * q_t.amin(0)


def soft_td_target(r_t: Tensor, discount_t: Tensor, q_t: Tensor, log_prob_t: Tensor, alpha: Tensor) -> Tensor:
    """y = r_t + discount_t * (min_c Q'_c(s_t, a_t) - alpha log pi(a_t | s_t)) (Haarnoja et al. 2018b, equations 3 and 6).

    Args:
        r_t, discount_t, q_t: as in `min_td_target`.
        log_prob_t: [B] logarithm of the density of the action drawn at t.
        alpha: temperature, reward per nat.

    Returns:
        [B]
    """
    return r_t + discount_t * (q_t.amin(0) - alpha * log_prob_t)


def critics_loss(q_tm1: Tensor, y: Tensor) -> Tensor:
    """L = sum_c mean (y - Q_c(s_tm1, a_tm1))^2 for critics [C, B]; no gradient flows into y [B]."""
    return ((y.detach() - q_tm1) ** 2).mean(-1).sum()


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target: float) -> Tensor:
    """L = -log alpha * mean (log pi + target) (Haarnoja et al. 2018b, equation 18, by log alpha as its authors' code does).

    The temperature rises while the entropy, -mean log pi, is below `target` and falls above it. log_prob [B] -> scalar.
    """
    return -log_alpha * (log_prob.detach() + target).mean()


def squashed_log_prob(u: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log density of a = tanh(u), u ~ N(mean, std^2) (Haarnoja et al. 2018a, equation 21). [..., A] -> [...].

    log pi(a) = sum_i log N(u_i) - log(1 - tanh(u_i)^2),      log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u))
    """
    log_slope = 2.0 * (math.log(2.0) - u - torch.nn.functional.softplus(-2.0 * u))
    return (_log_normal(u, mean, log_std) - log_slope).sum(-1)


def logistic_normal_log_prob(u: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log density on the simplex of w = softmax(u), u ~ N(mean, std^2). [..., A] -> [...].

    Adding a constant to u changes no w, so the density of u is integrated over that constant (z = (u - mean) / std):

        log p(w) = sum_i (log N(u_i) - log w_i) + (sum_i z_i / std_i)^2 / (2 S) + log(2 pi / S) / 2,     S = sum_i 1 / std_i^2

    The logistic-normal distribution of Aitchison and Shen (1980) with the covariance diag(std^2) of scores; density with
    respect to any A - 1 of the weights.
    """
    precision = (-2.0 * log_std).exp()
    total = precision.sum(-1)
    along = ((u - mean) * precision).sum(-1)
    constant = 0.5 * (along**2 / total + math.log(2.0 * math.pi) - total.log())
    return (_log_normal(u, mean, log_std) - u.log_softmax(-1)).sum(-1) + constant


def _log_normal(u: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    return -0.5 * ((u - mean) * (-log_std).exp()) ** 2 - log_std - 0.5 * math.log(2.0 * math.pi)


def project_simplex(x: Tensor) -> Tensor:
    """The nearest point of the simplex to x (Duchi et al. 2008, figure 1). [..., A] -> [..., A].

    w_i = max(x_i - theta, 0),  theta = (sum of the k largest x - 1) / k,  k the most that leaves all of them positive
    """
    high = x.sort(-1, descending=True).values
    rank = torch.arange(1, x.shape[-1] + 1, device=x.device)
    theta = (high.cumsum(-1) - 1.0) / rank
    k = (high > theta).sum(-1, keepdim=True)
    return (x - theta.gather(-1, k - 1)).clamp(min=0.0)
