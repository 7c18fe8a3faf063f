"""All of a PaD agent's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.data.windows import WindowSpec
from thalweg.decoders.inverse_dynamics import InverseDynamicsConfig
from thalweg.encoders import EncoderConfig
from thalweg.errors import ThalwegError
from thalweg.goals import GoalModelConfig
from thalweg.moves import MoveModelConfig
from thalweg.pad.model import PaDModelConfig
from thalweg.pad.planner import PlannerConfig
from thalweg.reach import ReachModelConfig
from thalweg.verify import VerifierConfig

__all__ = ["PaDConfig", "PaDTraining"]


@dataclass(frozen=True)
class PaDTraining:
    """How PaD is trained; every choice is read by the losses below.

    Attributes:
        refinement: T, refinement steps in training.
        from_noise: share of the samples that start from pure noise, as planning does; the others keep a uniformly
            drawn share ``beta`` of the clean future. The paper draws ``beta`` for all.
        fastest: coordinates that spread more than this in a few steps, relative to all their spread, are left out.
        state_noise: largest spread of the noise on the planner's present, in units of each coordinate's movement in
            one step; the target stays clean, so plans lead back from where the robot drifted.
        drift: spread of the present's displacement along the body's recorded motion nearby, as if the robot were
            behind its plan, ahead of it or beside it; the target stays.
        outliers: share of the present's body coordinates that are replaced by those of some other row.
        elsewhere: share of the episodes' beginnings in which the whole body is replaced by some other row's: wherever
            the robot has got to, empty-handed, it has to start anew.
        goal_noise: spread of the noise on what a settled goal keeps of the present, at the horizon, in units of each
            coordinate's spread times the share of its variance that the present foretells; less for nearer goals.
        waypoint_noise: largest spread of the noise on the inverse dynamics' target.
        reconstruction: weight of the encoder's reconstruction in the encoder's loss; 0 trains the decoder alone.
        labelled: share of episodes whose actions the inverse dynamics may see.
    """

    refinement: int = 2
    from_noise: float = 0.5
    fastest: float = 0.8
    state_noise: float = 1.0
    drift: float = 0.7
    outliers: float = 0.03
    elsewhere: float = 0.3
    goal_noise: float = 2.0
    waypoint_noise: float = 0.02
    reconstruction: float = 1.0
    labelled: float = 1.0

    def __post_init__(self) -> None:
        if self.refinement < 1:
            raise ThalwegError(f"refinement must be 1 step or more, got {self.refinement}")
        if not 0.0 < self.labelled <= 1.0:
            raise ThalwegError(f"labelled must be a share in (0, 1], got {self.labelled}")


@dataclass(frozen=True)
class PaDConfig:
    """All of a PaD agent's configuration; travels in its checkpoint.

    ``angles`` are pairs of observation coordinates, ``(cosine, sine)``, whose symmetries the planner is told. Without a
    time-to-reach model (``reach``) hypotheses are uniform; without a goal model (``goals``) every goal is plausible;
    without a model of moves (``moves``) plans lead to the goal as a whole; without a verifier (``verifier``, see
    ``thalweg calibrate``) plans have no probability of reaching.
    """

    encoder: EncoderConfig
    model: PaDModelConfig
    reach: ReachModelConfig | None
    inverse: InverseDynamicsConfig
    windows: WindowSpec
    training: PaDTraining
    planner: PlannerConfig
    angles: tuple[tuple[int, int], ...] = ()
    goals: GoalModelConfig | None = None
    moves: MoveModelConfig | None = None
    verifier: VerifierConfig | None = None

    def check(self) -> None:
        """See that the parts fit together.

        Raises:
            ThalwegError: naming the two settings that do not.
        """
        self._agree("model.offsets", self.model.offsets, "windows.offsets", self.windows.offsets)
        self._agree("model.past", self.model.past, "windows.past", self.windows.past)
        self._agree("model.horizon", self.model.horizon, "windows.reach_high", self.windows.reach_high)
        self._agree("encoder.latent", self.encoder.latent, "model.latent", self.model.latent)
        self._agree("encoder.latent", self.encoder.latent, "inverse.latent", self.inverse.latent)
        if self.reach is not None:
            self._agree("reach.horizon", self.reach.horizon, "windows.reach_high", self.windows.reach_high)
            self._agree("reach.observation", self.reach.observation, "encoder.observation", self.encoder.observation)
        if self.planner.lookahead > self.inverse.reach:
            raise ThalwegError(
                f"planner.lookahead is {self.planner.lookahead} steps; the inverse dynamics reaches "
                f"{self.inverse.reach} (inverse.reach)"
            )
        if self.planner.level and self.reach is None:
            raise ThalwegError(
                "planner.level needs a time-to-reach model, and this planner has none; set planner.level=false"
            )
        if self.goals is not None:
            self._agree("goals.observation", self.goals.observation, "encoder.observation", self.encoder.observation)
        if self.moves is not None:
            self._agree("moves.observation", self.moves.observation, "encoder.observation", self.encoder.observation)
        size = self.encoder.observation
        for pair in self.angles:
            if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= index < size for index in pair):
                raise ThalwegError(f"angles: {pair} is no pair of two coordinates from 0 to {size - 1}")

    @staticmethod
    def _agree(name: str, value: object, other_name: str, other: object) -> None:
        if value != other:
            raise ThalwegError(f"{name} is {value}, but {other_name} is {other}; they must agree")
