"""A Watch that keeps states like a run folder does, and the test that every learner must pass: resume after a kill."""

import io

import pytest
import torch


class KilledError(Exception):
    pass


class Watch:
    """Keeps states like a run folder does, and dies after `die_after` updates."""

    def __init__(self, die_after=None):
        self.kept, self.die_after, self.curve = None, die_after, []

    def restore(self):
        return torch.load(self.kept, weights_only=True) if self.kept else None

    def keep(self, state):
        self.kept = io.BytesIO()
        torch.save(state, self.kept)
        self.kept.seek(0)
        if self.die_after and state["done"] >= self.die_after:
            raise KilledError

    def progress(self, done, total, figures):
        self.curve.append((done, total, figures))


def weights(policy):
    """All parameters in one row."""
    return torch.cat([p.detach().flatten().double() for p in policy.net.parameters()])


def resumes_exactly(agent, env, *, die_after, valid=None):
    """Whether a fit that was killed ends with the weights and figures of an unbroken one, bit for bit."""
    whole = agent.fit(env, rng=torch.Generator().manual_seed(5), watch=(unbroken := Watch()), valid=valid)
    watch = Watch(die_after)
    with pytest.raises(KilledError):
        agent.fit(env, rng=torch.Generator().manual_seed(5), watch=watch, valid=valid)
    watch.die_after = None
    resumed = agent.fit(env, rng=torch.Generator().manual_seed(99), watch=watch, valid=valid)
    return torch.equal(weights(whole), weights(resumed)) and watch.curve[-1] == unbroken.curve[-1]
