"""Goals that can be reached against goals that cannot, in the simulator: what does a checkpoint say of them?

python recipes/implausible_goals.py checkpoints/cube-single-play --out results/implausible-goals.json
"""

from __future__ import annotations

import numpy as np
import torch
from common import auroc, options, write

from thalweg import load_checkpoint
from thalweg.envs.ogbench import make_env, random_task, seed_reset

EFFECTOR, CUBE = slice(12, 15), slice(19, 22)  # positions in cube-single's observation


def goals(count: int, seed: int) -> dict[str, np.ndarray]:
    """``(count, 28)`` goal observations of every kind."""
    rng = np.random.default_rng(seed)
    env = make_env("cube-single")

    def place(move) -> np.ndarray:
        found = []
        for index in range(count):
            task = random_task("cube-single", 1_000 * seed + index)
            move(task["goal_xyzs"][0])
            found.append(seed_reset(env, index, task_info=task)[1]["goal"])
        return np.array(found, np.float32)

    def outside(goal: np.ndarray) -> None:
        """Anywhere within a metre, but 5 cm or more outside of where the data's cubes come to rest."""
        while True:
            goal[:2] = rng.uniform([-0.2, -0.8], [1.0, 0.8])
            if not (0.25 <= goal[0] <= 0.6 and -0.4 <= goal[1] <= 0.4):
                return

    def floating(goal: np.ndarray) -> None:
        goal[2] = rng.uniform(0.08, 0.5)

    def sunk(goal: np.ndarray) -> None:
        goal[2] = rng.uniform(-0.2, -0.01)

    reachable = place(lambda goal: None)
    in_the_arm = reachable.copy()
    in_the_arm[:, CUBE] = in_the_arm[:, EFFECTOR] + rng.uniform(0.5, 2.0, (count, 1)) * [0, 0, 1]  # 5 to 20 cm up
    puzzle = make_env("puzzle-3x3")  # the same arm, then buttons where the cube's coordinates would be
    others = [puzzle.reset(seed=index, options={"task_id": 1 + index % 5})[1]["goal"] for index in range(count)]
    return {
        "reachable": reachable,
        "outside the workspace": place(outside),
        "floating": place(floating),
        "inside the table": place(sunk),
        "inside the arm": in_the_arm,
        "another environment's (puzzle-3x3)": np.array(others, np.float32)[:, : reachable.shape[1]],
        "coordinates in another order": reachable[:, rng.permutation(reachable.shape[1])],
    }


def main() -> None:
    """Judge every goal, and write what came of it."""
    asked = options(__doc__, count=200, seed=7)
    model, provenance = load_checkpoint(asked.checkpoint)
    with torch.no_grad():
        odds = {
            kind: model.plausibility(torch.from_numpy(rows)).numpy()
            for kind, rows in goals(asked.count, asked.seed).items()
        }
    kinds = {
        kind: {"auroc": auroc(odds["reachable"], values), "called_implausible": float((values < 0).mean())}
        for kind, values in odds.items()
    }
    write(asked.out, provenance, {"goals_of_each_kind": asked.count, "seed": asked.seed, "kinds": kinds})
    for kind, row in kinds.items():
        print(f"{kind:32} AUROC {row['auroc']:.3f}  called implausible {100 * row['called_implausible']:.1f}%")


if __name__ == "__main__":
    main()
