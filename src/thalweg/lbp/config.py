"""All of an LBP agent's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.data.scene import Objects
from thalweg.data.windows import WindowSpec
from thalweg.errors import ThalwegError
from thalweg.focus import Kind, find_kinds
from thalweg.goals import GoalModelConfig
from thalweg.grips import Grip, count_grips
from thalweg.lbp.policy import ChunkPolicyConfig
from thalweg.lbp.subgoals import SubgoalConfig
from thalweg.moves import MoveModelConfig
from thalweg.perception.contrastive import ImageEncoderConfig
from thalweg.perception.vision_language import PretrainedConfig
from thalweg.reach import ReachModelConfig

__all__ = ["LBPConfig", "LBPPlannerConfig", "LBPTraining"]


@dataclass(frozen=True)
class LBPPlannerConfig:
    """How one decision is made.

    Attributes:
        depth: n, subgoals of a plan; None as many as in training.
        ratio: lambda, a subgoal's time to the next one's; None what was trained most.
        sampling: denoising steps of the policy; None as many as it is configured for.
        milestones: in a scene of several objects, move one at a time (see ``thalweg.milestones``); otherwise plans
            lead to the goal as a whole.
        replan: environment steps between decisions.
        ensemble: chunks that overlap in a step are averaged with weights ``exp(-ensemble * rank)``, the oldest first
            (Zhao et al., 2023); None takes the newest alone.
    """

    depth: int | None = None
    ratio: float | None = None
    sampling: int | None = None
    milestones: bool = True
    replan: int = 1
    ensemble: float | None = 0.01

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 0:
            raise ThalwegError(f"depth must be 0 or more, got {self.depth}")
        if self.replan < 1:
            raise ThalwegError(f"replan must be 1 or more, got {self.replan}")


@dataclass(frozen=True)
class LBPTraining:
    """How LBP is trained.

    Attributes:
        fastest: coordinates that spread more than this in a few steps, relative to all their spread, are left out.
        state_noise: largest spread of the noise on the present, in units of each coordinate's movement in one step.
        goal_noise: spread of the noise on what a settled goal that is a state keeps of the present, at the horizon, in
            units of each coordinate's spread times the share of its variance that the present foretells; less for
            nearer goals.
        language_noise: spread of the noise on instructions, in units of their embeddings' own.
        astray: largest spread of the noise on the present from which the planner and the time-to-reach model learn, in
            units of the latents' own: plans lead back from where no demonstration went.
        plan_noise: spread of the noise on the plans that the policy learns from, in the same units.
        plan_dropout: share of the demonstrations of which the policy is shown the instruction, but not the plan.
        alone: share of the samples in which the policy, shown the plan, sees of several objects of a kind only the one
            that moves next: the others tell demonstrations apart, and otherwise it learns these by heart.
        varied: share of the samples whose plan has another ratio, and of which the policy is shown fewer subgoals.
        draws: times that each chunk is denoised, from noise of its own; more than one costs little where the policy has
            to look at frames first.
        shift: largest random shift of the frames that the policy looks at, in pixels.
        seeing: optimiser steps of the image encoder, before all else, where there are cameras; no more than the
            planner's own.
        given: share of the demonstrations whose goal is given as an observation, without words.
    """

    fastest: float = 0.75
    state_noise: float = 1.0
    goal_noise: float = 2.0
    language_noise: float = 0.8
    astray: float = 0.0
    plan_noise: float = 0.0
    plan_dropout: float = 0.3
    alone: float = 0.5
    varied: float = 0.5
    draws: int = 1
    shift: int = 1
    seeing: int = 3_000
    given: float = 0.1

    def __post_init__(self) -> None:
        for name in ("state_noise", "goal_noise", "language_noise", "astray", "plan_noise", "shift"):
            if getattr(self, name) < 0:
                raise ThalwegError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.draws < 1:
            raise ThalwegError(f"draws must be 1 or more, got {self.draws}")
        for name in ("given", "plan_dropout", "alone", "varied"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ThalwegError(f"{name} must be a share from 0 to below 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class LBPConfig:
    """All of an LBP agent's configuration; travels in its checkpoint.

    Latents are normalised observations. Where there are cameras, they are the first ``subgoals.latent`` components of
    what a frozen encoder makes of the frames, and observations are the proprioception. The encoder is ``images``, which
    is trained on the dataset, or ``pretrained``, which was trained elsewhere.

    ``text`` names the encoder of instructions, or is empty where goals are observations; ``text_fingerprint`` is its
    weights', which have to be the same when the checkpoint is used. ``angles``, ``objects``, ``grips`` and ``turns``
    are what was found in the observations; the policy is told of the latter two, and of objects of a kind which one the
    plan moves next. Where goals are states, ``goals`` tells plausible ones from others, and ``moves`` what can be done
    first on the way to one that concerns several objects.
    """

    observation: int
    windows: WindowSpec
    subgoals: SubgoalConfig
    policy: ChunkPolicyConfig
    reach: ReachModelConfig
    training: LBPTraining
    planner: LBPPlannerConfig
    angles: tuple[tuple[int, int], ...] = ()
    objects: Objects = ()
    grips: tuple[Grip, ...] = ()
    turns: tuple[tuple[int, ...], ...] = ()
    text: str = ""
    text_fingerprint: str = ""
    images: ImageEncoderConfig | None = None
    pretrained: PretrainedConfig | None = None
    goals: GoalModelConfig | None = None
    moves: MoveModelConfig | None = None

    @property
    def seen(self) -> int:
        """Values that the policy is given of an observation: its own, those of grips and turns, and of what is next."""
        grips = count_grips(len(self.grips), len(self.turns))
        return self.observation + grips + sum(kind.count for kind in self.kinds)

    @property
    def vision(self) -> ImageEncoderConfig | PretrainedConfig | None:
        """Of the encoder that looks at the frames, where there are cameras."""
        return self.images or self.pretrained

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of those that are looked through; none where latents are of states."""
        return self.vision.cameras if self.vision else ()

    @property
    def kinds(self) -> list[Kind]:
        """Of which there are several objects: the policy is told which of these the plan moves next."""
        return find_kinds(self.objects, self.grips, self.turns)

    @property
    def places(self) -> Objects:
        """Coordinates that say where each of these objects is, kind by kind."""
        return tuple(place for kind in self.kinds for place in kind.places)

    def check(self) -> None:
        """See that the parts fit together.

        Raises:
            ThalwegError: naming the two settings that do not.
        """
        latent = self.subgoals.latent
        if self.vision is None and latent != self.observation:
            raise ThalwegError(
                f"subgoals.latent is {latent}, but states, which are their own latents, have {self.observation} values"
            )
        if self.vision is not None and latent > self.vision.latent:
            raise ThalwegError(
                f"subgoals.latent is {latent}, but what the encoder sees has {self.vision.latent} components; "
                "choose as many or fewer"
            )
        for name, value in {"policy.latent": self.policy.latent, "reach.observation": self.reach.observation}.items():
            if value != latent:
                raise ThalwegError(f"{name} is {value}, but subgoals.latent is {latent}; they must agree")
        if self.images and self.pretrained:
            raise ThalwegError("images and pretrained are both encoders of the frames; give one of them")
        if (self.vision is None) != (self.policy.eyes is None):
            raise ThalwegError("an encoder of frames and policy.eyes go together: give both, or neither")
        if self.vision is not None and len(self.cameras) != self.policy.eyes.views:
            raise ThalwegError(f"policy.eyes.views is {self.policy.eyes.views}, but cameras are {self.cameras}")
        if (self.goals or self.moves) and (self.vision or self.text):
            raise ThalwegError("goals and moves are models of states; leave them out where there are words or cameras")
        if self.policy.observation != self.seen:
            raise ThalwegError(
                f"policy.observation is {self.policy.observation}, but observation and what is found in it make "
                f"{self.seen}; they must agree"
            )
        alike = len(self.places)
        if self.subgoals.objects != alike:
            raise ThalwegError(
                f"subgoals.objects is {self.subgoals.objects}, but {alike} are several of a kind; they must agree"
            )
        if not self.subgoals.language == self.policy.language == (self.policy.language if self.text else 0):
            raise ThalwegError(
                f"subgoals.language is {self.subgoals.language} and policy.language {self.policy.language}, with the "
                f"text encoder {self.text!r}; they must agree, and be 0 without one"
            )
        if self.reach.horizon != self.windows.reach_high:
            raise ThalwegError(
                f"reach.horizon is {self.reach.horizon}, but windows.reach_high is {self.windows.reach_high}; "
                "they must agree"
            )
        if self.planner.replan > self.policy.chunk:
            raise ThalwegError(
                f"planner.replan is {self.planner.replan} steps; a chunk has only {self.policy.chunk} (policy.chunk)"
            )
        sampling = self.planner.sampling
        if sampling is not None and not 1 <= sampling <= self.policy.denoising:
            raise ThalwegError(
                f"planner.sampling must be from 1 to {self.policy.denoising} steps (policy.denoising), got {sampling}"
            )
        if self.policy.eyes is not None and self.policy.eyes.condition != self.policy.fused:
            raise ThalwegError(
                f"policy.eyes.condition is {self.policy.eyes.condition}, but policy.fused is {self.policy.fused}; "
                "they must agree"
            )
        if self.planner.ratio is not None:
            self.subgoals.check_ratio(self.planner.ratio)
