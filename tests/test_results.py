"""Intervals, tables and paired comparison."""

from __future__ import annotations

import json

import pytest

from thalweg.errors import ThalwegError
from thalweg.results import compare, difference, load_result, paired, success_table, wilson
from thalweg.rollout import EpisodeResult


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [(95, 100, 0.8882, 0.9785), (0, 50, 0.0, 0.0713), (250, 250, 0.9849, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_against_published_values(successes, episodes, low, high):
    assert wilson(successes, episodes) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("successes", "episodes"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_nonsense(successes, episodes):
    with pytest.raises(ThalwegError, match=f"{successes} of {episodes}"):
        wilson(successes, episodes)


def episodes(*outcomes: tuple[int, int, bool, int]) -> list[EpisodeResult]:
    return [EpisodeResult(task, episode, 10 * task + episode, ok, steps, 1) for task, episode, ok, steps in outcomes]


def test_table_counts_per_task_and_steps_of_successes_only():
    table = success_table(episodes((1, 0, True, 60), (1, 1, False, 200), (2, 0, True, 80), (2, 1, True, 100)))
    assert table["success"]["mean"] == 0.75
    assert [row["mean"] for row in table["success"]["per_task"]] == [0.5, 1.0]
    assert table["steps_to_goal"] == {"mean": 80.0, "median": 80.0}
    assert success_table(episodes((1, 0, False, 200)))["steps_to_goal"] is None


def outcomes(*successes: bool, steps: int = 60) -> list[dict]:
    return [{"task": 1, "episode": i, "seed": i, "success": ok, "steps": steps} for i, ok in enumerate(successes)]


def test_pairs_are_matched_by_episode_whatever_the_order():
    first = outcomes(True, True, False, False)
    second = list(reversed(outcomes(True, False, True, True, steps=50)))
    pair = paired(first, second)
    assert pair["starts"] == 4
    assert pair["success_difference"]["mean"] == pytest.approx(0.25)
    assert (pair["only_first"], pair["only_second"]) == (1, 2)
    assert pair["p_value"] == 1.0
    assert pair["steps_difference"] == -10


def test_permutations_of_signs_agree_with_the_exact_sign_test():
    assert paired(outcomes(*[False] * 10), outcomes(*[True] * 10))["p_value"] == pytest.approx(2 / 2**10, abs=1e-3)
    mixed = paired(outcomes(*[True] * 3, *[False] * 9), outcomes(*[False] * 3, *[True] * 9))
    assert mixed["p_value"] == pytest.approx(2 * (1 + 12 + 66 + 220) / 2**12, abs=0.015)
    assert paired(outcomes(True, False), outcomes(True, False))["p_value"] == 1.0


def test_every_training_seed_counts_at_the_starts_it_shares():
    """Three seeds of the first method against one of the second; an old file does not even tell the seeds apart."""
    seeds = [outcomes(True, True, False), outcomes(True, False, False), outcomes(True, False, False, steps=90)]
    first = [row | {"training_seed": seed} for seed, rows in enumerate(seeds) for row in rows]
    second = outcomes(True, True, True, steps=50)
    pair = paired(first, second)
    assert pair["starts"] == 3
    assert pair["success_difference"]["mean"] == pytest.approx(1 - (1 + 1 / 3 + 0) / 3)
    assert (pair["only_first"], pair["only_second"]) == (0, 2)
    assert pair["steps_difference"] == pytest.approx(50 - 70)  # where every run succeeded: the first start
    assert paired([{k: v for k, v in row.items() if k != "training_seed"} for row in first], second) == pair
    mirrored = paired(second, first)
    assert mirrored["success_difference"]["mean"] == -pair["success_difference"]["mean"]
    assert (mirrored["only_first"], mirrored["only_second"]) == (2, 0)


def test_compare_speaks_of_starts(tmp_path, capsys):
    from thalweg.cli.compare import command

    for name, rows in (("a.json", outcomes(False, True)), ("b.json", outcomes(True, True))):
        (tmp_path / name).write_text(json.dumps({"success": {}, "episodes": rows}))
    command(tmp_path / "a.json", tmp_path / "b.json")
    told = capsys.readouterr().out
    assert "2 starts in common" in told
    assert "the first was better at 0 starts, the second at 1" in told


def test_the_first_difference_of_two_records_is_named():
    assert difference({"a": 1, "b": {"c": (2,)}}, {"b": {"c": (2,)}, "a": 1}) == ""
    assert difference({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}) == "a.b.c is 1, not 2"
    assert difference({"a": 1}, {"a": 1, "b": 2}) == "b is None, not 2"


def test_unpaired_results_are_refused():
    with pytest.raises(ThalwegError, match="share no start"):
        paired(outcomes(True), [])
    base = {"environment": "cube-single", "versions": {"mujoco": "3.3.7"}, "episodes": outcomes(True)}
    with pytest.raises(ThalwegError, match=r"MuJoCo version: '3.3.7' and '4.0.0'"):
        compare(base, base | {"versions": {"mujoco": "4.0.0"}})
    with pytest.raises(ThalwegError, match="environment"):
        compare(base, base | {"environment": "scene"})


def test_result_files_are_checked(tmp_path):
    with pytest.raises(ThalwegError, match="no result file"):
        load_result(tmp_path / "none.json")
    path = tmp_path / "result.json"
    path.write_text("{")
    with pytest.raises(ThalwegError, match="damaged"):
        load_result(path)
    path.write_text(json.dumps({"accuracy": 1}))
    with pytest.raises(ThalwegError, match="not a result file"):
        load_result(path)
