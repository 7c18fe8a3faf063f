"""Print the tables of docs/results.md from the records in results/.

python recipes/tables.py
"""

from __future__ import annotations

import json
from pathlib import Path

from thalweg import compare, load_result
from thalweg.envs.longhorizon import task

RESULTS = Path(__file__).parent.parent / "results"

ABLATIONS = {
    "base": "the default",
    "recorded-goals": "goals at any time of the recording, as recorded",
    "starts-anywhere": "beginnings count no more than other rows",
    "sharp-goals": "no blur on the goal",
    "undisturbed-present": "no noise, drift or outliers on the present",
    "residual-encoder": "a learned encoder (residual)",
    "no-projector": "no projector",
    "one-step-in-training": "one refinement step in training",
    "labels-10-percent": "actions of 10% of the episodes",
    "labels-1-percent": "actions of 1% of the episodes",
    "replanning-1": "replanning every step",
    "replanning-8": "replanning every 8 steps",
    "replanning-64": "replanning every 64 steps",
    "untrained-level-lowest_energy": "energies without a level: the lowest of 32, uniform λ",
    "untrained-level-paper": "energies without a level: the paper's rule, 32 candidates, uniform λ",
    "planning-steps-1": "one refinement step in planning",
    "planning-steps-4": "four refinement steps in planning",
    "planning-steps-8": "eight refinement steps in planning",
    "candidates-1": "one candidate",
    "candidates-32": "32 candidates",
    "no-pure-noise": "no training sample starts from pure noise",
    "fast-coordinates": "fast coordinates planned and tracked",
    "goals-not-held": "tokens past the goal go on with the recording",
    "plans-of-latents": "plans of latents, not of displacements",
    "no-context-network": "no context network",
    "a-token-every-4-steps": "a token every 4 steps (24 in place of 14)",
    "open-loop": "actions decoded from the plan alone, open-loop",
    "warm-start-steps-1": "the plan in progress among the candidates, one refinement step",
    "warm-start-steps-2": "the plan in progress among the candidates",
    "warm-start-steps-4": "the plan in progress among the candidates, four refinement steps",
    "no-angles": "angles not told",
    "no-discount": "no discount on the belief",
    "full-base": "the default at full length (6,000 steps, 1,000 episodes)",
    "full-plain": "and without what is done to the windows (noise, drift, outliers, blur, held goals, fast ones)",
    "noisy-base": "the default, on noisy data",
    "noisy-no-angles": "angles not told, on noisy data",
    "noisy-no-discount": "no discount on the belief, on noisy data",
    "noisy-untrained-level-lowest_energy": "energies without a level: the lowest of 32, uniform λ, on noisy data",
    "noisy-untrained-level-paper": "energies without a level: the paper's rule, 32 candidates, on noisy data",
    "double-base": "the default, on cube-double",
    "double-one-goal": "no milestones, on cube-double",
    "double-untrained-level-lowest_energy": "energies without a level: the lowest of 32, uniform λ, on cube-double",
    "double-untrained-level-paper": "energies without a level: the paper's rule, 32 candidates, on cube-double",
}

LONG_HORIZON = {
    "backward": "LBP: z_g, w1, w2, backward",
    "none": "no planner: the same policy told the instruction",
    "final": "the goal alone",
    "forward": "subgoals forward",
    "parallel": "subgoals in parallel",
    "depth-0": "LBP, planning z_g alone",
    "depth-1": "LBP, planning z_g and w1",
    "depth-3": "LBP, planning z_g to w3",
    "ratio-75": "LBP, planning with a ratio of 0.75",
    "sampling-1": "LBP, one denoising step in place of 3",
    "sampling-25": "LBP, 25 denoising steps in place of 3",
    "average": "average of the plan in place of the learned query",
    "one-planner": "one planner that knows its demonstrations by heart, as in the paper",
    "not-told": "not told what the plan moves next",
    "random": "random policy",
}


def percent(row: dict) -> str:
    return f"{100 * row['mean']:.1f}% | {100 * row['low']:.1f} to {100 * row['high']:.1f}"


def steps(result: dict) -> str:
    reached = result["steps_to_goal"]
    return f"mean {reached['mean']:.0f}, median {reached['median']:.0f}" if reached else ""


def chance(name: str, result: dict) -> str:
    """The p-value of its difference from the default, on the same starts."""
    kind = name.split("-")[0]
    base = f"{kind}-base" if kind in ("noisy", "full", "double") else "base"
    if name == base:
        return ""
    p = compare(load_result(RESULTS / "ablations" / f"{base}.json"), result)["p_value"]
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def in_words(folder: Path) -> None:
    """The tasks in words: every variant against LBP with the same training seeds, and LBP's stages."""
    base = load_result(folder / "backward.json")
    print("\n| planner | success | 95% interval | each seed | LBP minus it | p | decision p50, p95 |")
    print("|---|---|---|---|---|---|---|")
    for name, what in LONG_HORIZON.items():
        if not (folder / f"{name}.json").exists():
            continue
        result = load_result(folder / f"{name}.json")
        seeds = ", ".join(f"{100 * mean:.1f}" for mean in result["per_seed"])
        against = ""
        if name != "backward" and result["training_seeds"]:
            peers = [one for one in base["episodes"] if one["training_seed"] in result["training_seeds"]]
            pair = compare(result, base | {"episodes": peers})
            gain = {name: f"{100 * value:+.1f}" for name, value in pair["success_difference"].items()}
            against = f"{gain['mean']} ({gain['low']} to {gain['high']}) | {pair['p_value']:.2g}"
        time = result["planning_ms"]
        timed = f"{time['p50']:.1f}, {time['p95']:.1f} ms" if time else ""
        print(f"| {what} | {percent(result['success'])} | {seeds} | {against or '|'} | {timed} |")
    print("\n| task | stages | success |\n|---|---|---|")
    for row in base["success"]["per_task"]:
        stages = ", ".join(f"{100 * share:.0f}" for share in row["stages"])
        print(f"| {row['task']}: {task(row['task']).name} | {stages} | {100 * row['mean']:.0f}% |")


def main() -> None:
    """All tables, in Markdown."""
    print("| record | success | 95% interval | each seed | steps to goal | training steps | decision p50, p95 |")
    print("|---|---|---|---|---|---|---|")
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        if not result.get("training_seeds"):
            continue  # no evaluation of a planner
        seeds = ", ".join(f"{100 * mean:.1f}" for mean in result["per_seed"])
        time = result["planning_ms"] or {"p50": 0, "p95": 0}
        trained, timed = f"{result['training']['steps']:,}", f"{time['p50']:.1f}, {time['p95']:.1f} ms"
        print(f"| {path.stem} | {percent(result['success'])} | {seeds} | {steps(result)} | {trained} | {timed} |")
        for name, floor in result["floors"].items():
            print(f"| floor: {name} | {percent(floor)} | | | | |")
    print("\n| change | success | 95% interval | p | steps to goal |\n|---|---|---|---|---|")
    for name, what in ABLATIONS.items():
        path = RESULTS / "ablations" / f"{name}.json"
        if path.exists():
            result = load_result(path)
            print(f"| {what} | {percent(result['success'])} | {chance(name, result)} | {steps(result)} |")
    for name in ("long-horizon", "visual-long-horizon"):
        in_words(RESULTS / name)


if __name__ == "__main__":
    main()
