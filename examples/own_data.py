"""Train a planner on one's own recordings and drive something with it. No simulator; half a minute on a laptop.

python examples/own_data.py          # 600 training steps
python examples/own_data.py 6000     # as many as one likes
"""

from __future__ import annotations

import sys
import tempfile

import numpy as np

from thalweg import Agent, EpisodeStore, TrainConfig, train_checkpoint
from thalweg.envs.point import PointMass, record_points


def main(steps: int = 600) -> None:
    """Record a wandering point, train ``steps`` steps on it, and send it to ten places."""
    recorded = record_points(100)  # any arrays will do: these stand for one's own
    store = EpisodeStore.from_arrays(
        recorded.observations,  # (N, S) float32, episodes end to end
        recorded.actions,  # (N, A)
        lengths=recorded.ends - recorded.starts,  # rows of each episode
    )
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(steps=steps, batch=128, compile=False)
        checkpoint = train_checkpoint(store, folder, config=config)
        agent = Agent.load(checkpoint, replan=2, lookahead=2)
    world = PointMass(seed=0)
    reached = 0
    for episode in range(10):
        goal = np.append(np.random.default_rng(episode).uniform(-0.8, 0.8, 2), [0, 0])
        observation = world.reset()
        agent.reset(goal)
        for _ in range(60):
            observation = world.step(agent.act(observation))
        distance = float(np.linalg.norm(world.position - goal[:2]))
        reached += distance < 0.1
        print(f"goal {goal[:2].round(2)}: ended {distance:.3f} away")
    print(f"{reached} of 10 reached")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
