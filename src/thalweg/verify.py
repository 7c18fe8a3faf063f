"""Will it work? The probability that a plan reaches its goal, learned from the planner's own attempts.

A plan can look as good as any and still fail, where the recordings themselves failed, or where there are few. What
comes of plans is known only once they are carried out: attempts at random goals teach a logistic regression on what the
energy's own context network reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.errors import ThalwegError

__all__ = ["Attempts", "Verifier", "VerifierConfig", "calibration_error", "fit_verifier"]

FOLDS = 5
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  #: on the squared weights; held-out episodes choose


@dataclass(frozen=True)
class VerifierConfig:
    """Size of the verifier: V, how many values it reads."""

    evidence: int


@dataclass(frozen=True)
class Attempts:
    """N plans that were carried out, and what came of them.

    Attributes:
        evidence: ``(N, V)`` what the verifier reads of each.
        success: ``(N,)`` whether its episode reached the goal.
        episode: ``(N,)`` the episode's number.
    """

    evidence: Tensor
    success: Tensor
    episode: Tensor

    def __getitem__(self, rows: Tensor) -> Attempts:
        return Attempts(self.evidence[rows], self.success[rows], self.episode[rows])


class Verifier(nn.Module):
    """Logistic regression: ``(B, V)`` evidence -> ``(B,)`` log-odds that the goal is reached."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VerifierConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.evidence))
        self.register_buffer("std", torch.ones(config.evidence))
        self.weigh = nn.Linear(config.evidence, 1)

    def forward(self, evidence: Tensor) -> Tensor:
        """``(B, V)`` -> ``(B,)``."""
        return self.weigh((evidence - self.mean) / self.std)[:, 0]


def fit_verifier(attempts: Attempts) -> Verifier:
    """Fit a verifier; the penalty is the one under which held-out episodes are best foretold.

    Raises:
        ThalwegError: fewer episodes than folds, or evidence that is not finite.
    """
    episodes = attempts.episode.unique()
    if len(episodes) < FOLDS:
        raise ThalwegError(f"a verifier needs attempts of {FOLDS} episodes or more, got {len(episodes)}")
    if not attempts.evidence.isfinite().all():
        raise ThalwegError("the evidence of an attempt is not finite")
    scores = [
        sum(_held_out_loss(attempts, attempts.episode % FOLDS == fold, penalty) for fold in range(FOLDS))
        for penalty in PENALTIES
    ]
    return _fit(attempts, PENALTIES[scores.index(min(scores))])


def _held_out_loss(attempts: Attempts, held_out: Tensor, penalty: float) -> float:
    verifier, rest = _fit(attempts[~held_out], penalty), attempts[held_out]
    return float(_loss(verifier, rest)) * len(rest.episode.unique())


def _fit(attempts: Attempts, penalty: float) -> Verifier:
    verifier = Verifier(VerifierConfig(attempts.evidence.shape[1]))
    verifier.mean.copy_(attempts.evidence.mean(dim=0))
    verifier.std.copy_(attempts.evidence.std(dim=0).clamp(min=1e-6))
    weight, bias = verifier.weigh.weight, verifier.weigh.bias
    nn.init.zeros_(weight)
    nn.init.zeros_(bias)
    episodes = len(attempts.episode.unique())
    optimiser = torch.optim.LBFGS(verifier.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        doubt = functional.softplus(bias) + functional.softplus(-bias)  # half a success and half a failure, unseen
        loss = _loss(verifier, attempts) + penalty * weight.square().sum() + 0.5 * doubt.sum() / episodes
        loss.backward()
        return loss

    optimiser.step(closure)
    return verifier.requires_grad_(False).eval()


def _loss(verifier: Verifier, attempts: Attempts) -> Tensor:
    """Mean negative log-likelihood; every episode counts alike."""
    _, place, count = attempts.episode.unique(return_inverse=True, return_counts=True)
    loss = functional.binary_cross_entropy_with_logits(
        verifier(attempts.evidence), attempts.success.float(), reduction="none"
    )
    return (loss / count[place]).sum() / len(count)


def calibration_error(probability: Tensor, success: Tensor, *, bins: int = 10) -> float:
    """Expected calibration error over bins of equal count: predicted against achieved, ``(N,)`` each."""
    order = probability.argsort()
    gaps = [
        (probability[part].mean() - success[part].float().mean()).abs() * len(part)
        for part in order.tensor_split(min(bins, len(order)))
    ]
    return float(sum(gaps) / len(order))
