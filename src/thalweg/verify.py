"""Will it work, and when? The probability that a plan reaches its goal, learned from the planner's own attempts.

A plan can look as good as any and still fail, where the recordings themselves failed, or where there are few. What
comes of plans is known only once they are carried out: attempts at random goals teach a logistic regression on what the
energy's own context network reads. And the belief about the time to reach is that of the recordings; attempts tell how
much of it has passed when the planner arrives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.errors import ThalwegError

__all__ = ["Attempts", "Verifier", "VerifierConfig", "calibration_error", "fit_verifier", "reliability_bins"]

FOLDS = 5
LEVELS = 200  #: quantiles that the distribution of arrivals is kept in
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
        offset: ``(N,)`` log-odds that are known beforehand: below 0 for an implausible goal.
        success: ``(N,)`` whether its episode reached the goal.
        episode: ``(N,)`` the episode's number.
        first: ``(N,)`` whether it was the episode's first plan.
        passed: ``(N,)`` the share of the belief about the time to reach that had passed on arrival, NaN without one.
    """

    evidence: Tensor
    offset: Tensor
    success: Tensor
    episode: Tensor
    first: Tensor
    passed: Tensor

    def __getitem__(self, rows: Tensor) -> Attempts:
        return Attempts(*(value[rows] for value in vars(self).values()))


class Verifier(nn.Module):
    """Logistic regression: ``(B, V)`` evidence -> ``(B,)`` log-odds that the goal is reached; and when it will be."""

    mean: Tensor
    std: Tensor
    passed: Tensor

    def __init__(self, config: VerifierConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.evidence))
        self.register_buffer("std", torch.ones(config.evidence))
        self.register_buffer("passed", ((torch.arange(LEVELS) + 0.5) / LEVELS).repeat(2, 1))
        self.weigh = nn.Linear(config.evidence, 1)

    def forward(self, evidence: Tensor) -> Tensor:
        """``(B, V)`` -> ``(B,)``."""
        return self.weigh(self.normalised(evidence))[:, 0]

    def normalised(self, evidence: Tensor) -> Tensor:
        """``(B, V)`` to the zero mean and unit spread of the attempts."""
        return (evidence - self.mean) / self.std

    def arrival(self, belief: Tensor, first: Tensor) -> Tensor:
        """``(B, H)`` probability of arriving after each number of steps, from the belief ``(B, H)``.

        Quantile by quantile, as attempts bore the belief out: those of ``first (B,)`` plans, or those of later ones.
        """
        shares = belief.cumsum(dim=1) / belief.sum(dim=1, keepdim=True)
        knots = self.passed[(~first).long()]
        arrived = torch.searchsorted(knots, shares.clamp(max=1.0).contiguous(), right=True) / LEVELS
        arrived[:, -1] = 1.0
        return arrived.diff(dim=1, prepend=torch.zeros_like(arrived[:, :1]))


def fit_verifier(attempts: Attempts) -> Verifier:
    """Fit a verifier; the penalty is the one under which held-out episodes are best foretold.

    Attempts whose evidence is not finite are left out.

    Raises:
        ThalwegError: fewer episodes than folds.
    """
    attempts = attempts[attempts.evidence.isfinite().all(dim=1)]
    episodes, rank = attempts.episode.unique(return_inverse=True)
    if len(episodes) < FOLDS:
        raise ThalwegError(f"a verifier needs attempts of {FOLDS} episodes or more, got {len(episodes)}")
    folds = [(rank % FOLDS) == fold for fold in range(FOLDS)]
    scores = []
    for penalty in PENALTIES:
        scores.append(sum(_held_out_loss(_fit(attempts[~fold], penalty), attempts[fold]) for fold in folds))
    verifier = _fit(attempts, PENALTIES[scores.index(min(scores))])
    levels = (torch.arange(LEVELS) + 0.5) / LEVELS
    for row, chosen in enumerate((attempts.first, ~attempts.first)):
        passed = attempts.passed[chosen & attempts.success & attempts.passed.isfinite()]
        if len(passed):
            verifier.passed[row] = passed.quantile(levels)
    return verifier


def _fit(attempts: Attempts, penalty: float) -> Verifier:
    verifier = Verifier(VerifierConfig(attempts.evidence.shape[1]))
    spread = attempts.evidence.std(dim=0)
    verifier.mean.copy_(attempts.evidence.mean(dim=0))
    verifier.std.copy_(torch.where(spread > 1e-6, spread, 1.0))
    weight, bias = verifier.weigh.weight, verifier.weigh.bias
    nn.init.zeros_(weight)
    nn.init.zeros_(bias)
    seen = verifier.normalised(attempts.evidence)
    optimiser = torch.optim.LBFGS(verifier.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        doubt = functional.softplus(bias) + functional.softplus(-bias)  # half a success and half a failure, unseen
        surprise = _loss(verifier.weigh(seen)[:, 0], attempts)
        loss = (surprise + 0.5 * doubt.sum()) / len(attempts.success)
        loss = loss + penalty * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return verifier.requires_grad_(False).eval()


def _held_out_loss(verifier: Verifier, attempts: Attempts) -> float:
    return float(_loss(verifier(attempts.evidence), attempts))


def _loss(odds: Tensor, attempts: Attempts) -> Tensor:
    """Negative log-likelihood of N attempts, summed."""
    odds, success = odds + attempts.offset, attempts.success.float()
    return functional.binary_cross_entropy_with_logits(odds, success, reduction="sum")


def reliability_bins(probability: Tensor, *, bins: int = 10) -> list[Tensor]:
    """Indices of the ``(N,)`` predictions in bins of equal count, lowest first."""
    return list(probability.argsort().tensor_split(min(bins, len(probability))))


def calibration_error(probability: Tensor, success: Tensor, *, bins: int = 10) -> float:
    """Expected calibration error over bins of equal count: predicted against achieved, ``(N,)`` each."""
    gaps = [
        (probability[part].mean() - success[part].float().mean()).abs() * len(part)
        for part in reliability_bins(probability, bins=bins)
    ]
    return float(sum(gaps) / len(probability))
