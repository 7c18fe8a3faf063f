"""The report, on made-up episodes: a straight pick-and-place in the observations of a single cube."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from thalweg.errors import ThalwegError
from thalweg.report import diagnose, scene_of, write_report
from thalweg.report.checks import END, check_decisions, tracking_limit
from thalweg.report.write import choose_episodes
from thalweg.trace import Trace, TraceHead, load_trace

OFFSETS = np.array([4, 8, 16, 24, 32, 48, 64, 96, 128])
REPLAN, HYPOTHESES, REFINEMENTS, HORIZON = 8, 4, 3, 128
SIZE, EFFECTOR, CUBE = 28, slice(12, 15), slice(19, 22)
CENTRE = np.array([42.5, 0.0, 0.0])
START, GOAL = np.array([35.0, -15.0, 2.0]), np.array([50.0, 10.0, 2.0])
GRASP_AT, RELEASE_AT, REST_AT = 30, 70, 90

RESULT = {
    "environment": "cube-single",
    "dataset": "cube-single-play",
    "method": "PaD",
    "preset": "default",
    "training_seeds": [0],
    "episodes_per_task": 50,
    "success": {
        "mean": 0.884,
        "low": 0.853,
        "high": 0.909,
        "per_task": [{"task": 1, "mean": 0.9, "low": 0.786, "high": 0.957, "successes": 45, "episodes": 50}],
    },
    "steps_to_goal": {"mean": 83.2, "median": 79},
    "floors": {"random": {"mean": 0.01, "low": 0.0, "high": 0.03}, "cloning": None},
    "planning_ms": {"p50": 12.3, "p95": 20.1},
    "training": {"steps": 40000, "wall_clock_s": 5400.0, "device": "cpu"},
    "versions": {"torch": "2.13.0"},
    "recipe": "recipes/cube.py",
    "data_fingerprint": "abc<123>",
    "evaluation": {"seed": 0, "wall_clock_s": 60.0, "planner": {"steps": 4}},
}


@dataclass(frozen=True)
class Story:
    """What goes wrong in a made-up episode; nothing by default.

    Attributes:
        steps: length of the episode.
        plan_off: plans end this far (cm) from the goal.
        flip: every other plan is displaced by this (cm) along the way, but not at its end.
        arm_off: the arm runs this far (cm) beside its plans.
        slips: the cube stays at its start.
        lags: the plan is behind by so many steps, so that time runs out.
    """

    steps: int = 96
    plan_off: float = 0.0
    flip: float = 0.0
    arm_off: float = 0.0
    slips: bool = False
    lags: int = 0


def ideal(steps: np.ndarray) -> np.ndarray:
    """``(N,)`` steps -> ``(N, S)``: over to the cube, carry it in an arc, let go and rise."""
    home = np.array([42.5, 0.0, 25.0])
    carry = np.clip((steps - GRASP_AT) / (RELEASE_AT - GRASP_AT), 0, 1)[:, None]
    cube = START + carry * (GOAL - START) + np.sin(np.pi * carry) * [0, 0, 15.0]
    reach, leave = (np.clip(part, 0, 1)[:, None] for part in (steps / GRASP_AT, (steps - RELEASE_AT) / 20))
    arm = home + reach * (START - home)
    arm = np.where(steps[:, None] > GRASP_AT, cube, arm) + leave * [0, 0, 20.0]
    rows = np.zeros((len(steps), SIZE))
    rows[:, EFFECTOR], rows[:, CUBE] = (arm - CENTRE) / 10, (cube - CENTRE) / 10
    return rows


def make_trace(story: Story = Story(), *, success: bool = True, belief: bool = True, task: int = 1) -> Trace:
    rng = np.random.default_rng(0)
    time = np.arange(story.steps + 1)
    course = ideal(np.maximum(time - story.lags, 0))
    course[:, EFFECTOR.start] += story.arm_off / 10
    if story.slips:
        course[:, CUBE] = (START - CENTRE) / 10
    when = np.arange(0, story.steps, REPLAN)
    plans = np.stack([ideal(np.maximum(step + OFFSETS - story.lags, 0)) for step in when])
    plans[:, :, CUBE.start] += story.plan_off / 10 * (plans[:, :, CUBE.start] > course[0, CUBE.start] + 0.1)
    way = np.sin(np.pi * np.clip(OFFSETS / 70, 0, 1))[:, None]
    for columns in (EFFECTOR, CUBE):
        plans[1::2, :, columns] += story.flip / 10 * way
    reach = np.maximum(REST_AT + story.lags - when, 4.0)
    energies = rng.uniform(0.9, 1.1, (len(when), REFINEMENTS + 1, HYPOTHESES))
    energies *= np.geomspace(1000, 100, REFINEMENTS + 1)[:, None]
    spread = np.exp(-0.5 * ((np.arange(1, HORIZON + 1) - reach[:, None]) / 6) ** 2)
    return Trace(
        head=TraceHead(Path("made-up.npz"), task, 0, 7, success, story.steps),
        observations=course,
        goal=ideal(np.array([REST_AT]))[0],
        plan_step=when,
        plan_observations=plans,
        offsets=np.tile(OFFSETS, (len(when), 1)),
        time_to_reach=reach,
        selected=np.zeros(len(when), int),
        candidate_reach=reach[:, None] + rng.uniform(-5, 5, (len(when), HYPOTHESES)),
        candidate_energy=energies[:, -1],
        energies=energies,
        qpos=np.zeros((story.steps + 1, 21)),
        qvel=np.zeros((story.steps + 1, 20)),
        belief=spread / spread.sum(axis=1, keepdims=True) if belief else None,
        reach_probability=np.linspace(0.5, 0.9, len(when)),
    )


def save(trace: Trace, folder: Path, *, task: int = 1, episode: int = 0, without: tuple[str, ...] = ()) -> Path:
    """Write a trace as the recorder does."""
    arrays = {name: value for name, value in vars(trace).items() if isinstance(value, np.ndarray)}
    arrays = {name: value for name, value in arrays.items() if name not in without}
    result = {"task": task, "episode": episode, "seed": 7, "success": trace.head.success}
    result |= {"steps": trace.steps, "decisions": trace.decisions}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"task{task}-{episode:03d}.npz"
    np.savez_compressed(path, result=json.dumps(result), **arrays)
    return path


LIMIT = 200
FAILURES = {
    "plan ends off the goal": (Story(LIMIT, plan_off=9.0), "plan"),
    "plans contradict": (Story(LIMIT, flip=30.0), "plan"),
    "arm strays": (Story(LIMIT, arm_off=7.0), "inverse dynamics"),
    "cube slips": (Story(GRASP_AT + 20, slips=True), "environment"),
    "time runs out": (Story(56, lags=40), "environment"),
}


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    save(make_trace(), folder, task=1)
    save(make_trace(Story(LIMIT, plan_off=9.0), success=False), folder, task=2)
    return folder


class _Tags(HTMLParser):
    """Collects tags and attributes, and checks that elements close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in ("meta", "input", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def write(result: dict, folder: Path | None, tmp_path: Path) -> str:
    out = write_report(result, folder, tmp_path / "new" / "report.html", videos=False)
    assert out == tmp_path / "new" / "report.html"
    return out.read_text()


def test_page_tells_success_and_failure(traces: Path, tmp_path: Path) -> None:
    page = write(RESULT, traces, tmp_path)
    for told in ("cube-single", "88.4", "85.3 to 90.9%", "45 of 50", "12.3 ms median", "abc&lt;123&gt;"):
        assert told in page
    assert "reached its goal in 96 steps (4.8 s)" in page
    assert "failed after 200 steps (10.0 s), likely cause: plan" in page
    assert page.count("<figure") == 2 * 9


def test_page_needs_nothing_else(traces: Path, tmp_path: Path) -> None:
    page = write(RESULT, traces, tmp_path)
    assert "http" not in page
    assert "url(" not in re.sub(r"url\(#[\w.-]+\)", "", page)
    for tag, name, value in parse(page).attributes:
        if name in ("src", "href", "poster"):
            assert value.startswith(("data:", "#")), (tag, name, value[:50])
        assert tag != "link"


def test_every_figure_is_described_and_follows_the_colour_scheme(traces: Path, tmp_path: Path) -> None:
    page = write(RESULT, traces, tmp_path)
    for drawing in re.findall(r"<svg.*?</svg>", page, flags=re.S):
        assert re.match(r"<svg [^>]*><title>[^<]{10,}</title>", drawing)
        drawn = re.sub(r'href="data:[^"]*"', "", drawing)
        assert not re.search(r"#[0-9a-f]{6}\b", drawn), re.search(r"#[0-9a-f]{6}\b", drawn)


def test_slider_matches_what_it_shows(traces: Path, tmp_path: Path) -> None:
    attributes = parse(write(RESULT, traces, tmp_path)).attributes
    steps = [value for _, name, value in attributes if name == "data-steps"]
    shown = {int(value) for _, name, value in attributes if name == "data-decision"}
    assert len(steps[0].split(",")) == 96 // REPLAN and steps[1].endswith(",192")
    assert shown == set(range(LIMIT // REPLAN))


def test_a_nearly_empty_result_is_enough(tmp_path: Path) -> None:
    page = write({"environment": "cube-single", "success": {"mean": float("nan")}, "floors": None}, None, tmp_path)
    parse(page)
    assert "No success rate was recorded" in page and "nan" not in page.split("</style>")[1].split("<script>")[0]


def test_missing_belief_and_states(tmp_path: Path) -> None:
    save(make_trace(), tmp_path / "traces", without=("belief", "reach_probability", "qpos", "qvel"))
    out = write_report(RESULT, tmp_path / "traces", tmp_path / "report.html")
    page = out.read_text()
    assert "no belief was recorded" in page
    assert "Will it work?" not in page
    assert "No video: the traces hold no simulator states." in page
    assert "None of the 1 recorded episodes failed" in page


def test_a_policy_without_plans_has_a_report(tmp_path: Path) -> None:
    planning = [name for name, value in vars(make_trace()).items() if isinstance(value, np.ndarray)]
    without = tuple(set(planning) - {"observations", "goal", "qpos", "qvel"})
    save(make_trace(), tmp_path / "traces", without=without)
    assert "makes no plans" in write(RESULT | {"method": "random policy"}, tmp_path / "traces", tmp_path)


def test_missing_rendering_is_told(traces: Path, tmp_path: Path) -> None:
    page = write_report(RESULT | {"environment": "toy"}, traces, tmp_path / "report.html").read_text()
    assert page.count("No video: no recording oracle for environment") == 2


def test_unknown_environment_is_drawn_in_principal_components(traces: Path, tmp_path: Path) -> None:
    page = write(RESULT | {"environment": "toy"}, traces, tmp_path)
    parse(page)
    assert "component 1 (" in page and "gripper" not in page


def test_damaged_traces_are_named(tmp_path: Path) -> None:
    path = save(make_trace(), tmp_path / "traces")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ThalwegError, match=r"task1-000\.npz is damaged"):
        write(RESULT, path.parent, tmp_path)
    path.write_bytes(whole[:3000] + bytes(200) + whole[3200:])
    with pytest.raises(ThalwegError, match=r"task1-000\.npz"):
        load_trace(path)
    save(make_trace(), path.parent, without=("energies",))
    with pytest.raises(ThalwegError, match=r"task1-000\.npz lacks 'energies'"):
        load_trace(path)
    save(replace(make_trace(), selected=np.zeros(3, int)), path.parent)
    with pytest.raises(ThalwegError, match=r"selected has M = 3"):
        load_trace(path)


def test_traces_of_another_run_are_left_out(traces: Path, tmp_path: Path) -> None:
    mine = {"task": 1, "episode": 0, "seed": 7}
    assert write(RESULT | {"episodes": [mine]}, traces, tmp_path).count("<figure") == 9
    other = write(RESULT | {"episodes": [mine | {"seed": 8}]}, traces, tmp_path)
    assert "No episode of this result was recorded" in other


def test_a_folder_of_traces_that_is_asked_for_must_exist(tmp_path: Path) -> None:
    from thalweg.cli.report import command

    result = tmp_path / "result.json"
    result.write_text(json.dumps(RESULT))
    command(result)
    with pytest.raises(ThalwegError, match="no folder of traces at .*typo"):
        command(result, traces=tmp_path / "typo")


def test_what_a_report_needs_is_checked_before_the_evaluation(tmp_path: Path, monkeypatch) -> None:
    from thalweg.cli.evaluate import command

    monkeypatch.setattr("thalweg.evaluation.evaluate", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(ThalwegError, match="is a folder; name a file for the report"):
        command(["random"], env="cube-single", report=tmp_path)
    monkeypatch.setitem(sys.modules, "thalweg.report", None)
    with pytest.raises(ThalwegError, match=r"a report needs matplotlib: pip install 'thalweg\[report\]'"):
        command(["random"], env="cube-single", report=tmp_path / "page.html")


def test_coordinates_that_the_planner_leaves_out_are_not_measured() -> None:
    """Without a scene: joint speeds that race, and that plans show at their mean, are no tracking error."""
    rng, trace = np.random.default_rng(0), make_trace()
    observations = trace.observations.copy()
    observations[:, 25:] = 20 * rng.standard_normal((len(observations), 3))
    kept = np.arange(SIZE) < 25
    scene = scene_of("toy", replace(trace, observations=observations, kept=kept))
    assert (scene.effector.matrix[~kept] == 0).all()
    assert scene.to_goal(np.where(kept, trace.goal, trace.goal + 1), trace.goal) == 0


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ThalwegError, match="no folder of traces"):
        write(RESULT, tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize(("story", "cause"), FAILURES.values(), ids=FAILURES)
def test_each_cause_is_found(story: Story, cause: str) -> None:
    trace, peer = make_trace(story, success=False), make_trace()
    found = diagnose(trace, scene=scene_of("cube-single", trace), peers=[peer])
    assert found.cause == cause, found
    assert found.evidence.endswith(".") and "nan" not in found.evidence
    assert found.numbers["decisions"] == trace.decisions


def test_plans_to_a_milestone_are_judged_by_it(tmp_path: Path) -> None:
    """Ending at the milestone, off the goal, is no fault; nor is leading somewhere else than the plan before."""
    trace = make_trace(Story(LIMIT, plan_off=9.0), success=False)
    aims = trace.plan_observations[np.arange(trace.decisions), trace.due]
    scene = scene_of("cube-single", trace)
    limit = tracking_limit(trace, scene, [])
    towards = replace(trace, plan_goal=aims)
    assert check_decisions(trace, scene, limit).end.max() > END * scene.tolerance
    assert check_decisions(towards, scene, limit).end.max() < 1e-6
    flipping = make_trace(Story(LIMIT, flip=30.0), success=False)
    assert check_decisions(flipping, scene, limit).jump.max() > 0
    turning = replace(flipping, plan_turns=np.ones(flipping.decisions, bool))
    assert check_decisions(turning, scene, limit).jump.max() == 0
    assert np.array_equal(load_trace(save(towards, tmp_path)).plan_goal, aims)


def test_a_plan_that_is_not_finite_is_at_fault(tmp_path: Path) -> None:
    trace = make_trace(Story(LIMIT), success=False)
    plans, energies = trace.plan_observations.copy(), trace.energies.copy()
    plans[5:], energies[5:] = np.nan, np.nan
    broken = replace(trace, plan_observations=plans, energies=energies)
    assert diagnose(broken, scene=scene_of("cube-single", broken)).cause == "plan"
    save(broken, tmp_path / "traces")
    parse(write(RESULT, tmp_path / "traces", tmp_path))


def test_time_limit_is_told_with_what_was_left() -> None:
    trace = make_trace(Story(56, lags=40), success=False)
    found = diagnose(trace, scene=scene_of("cube-single", trace))
    assert "time ran out with 29.2 cm to go" in found.evidence


def test_diagnosis_without_a_scene_and_of_a_success() -> None:
    assert diagnose(make_trace(Story(LIMIT, arm_off=7.0), success=False)).cause in (
        "plan",
        "inverse dynamics",
    )
    with pytest.raises(ThalwegError, match="is a success"):
        diagnose(make_trace())


def test_scene_reads_positions_in_centimetres() -> None:
    trace = make_trace()
    scene = scene_of("cube-single-v0", trace)
    assert scene.family == "cube" and scene.unit == "cm"
    np.testing.assert_allclose(scene.objects[0](trace.observations[0]), START)
    np.testing.assert_allclose(scene.objects[0](trace.goal), GOAL)
    assert scene.to_goal(trace.observations[0], trace.goal) == pytest.approx(np.linalg.norm(GOAL - START))
    assert scene_of("cube-triple", trace).family == "cube"  # the observation's size counts the cubes
    assert scene_of("visual-puzzle-3x3", trace).family == scene_of(None, trace).family == "unknown"


def test_plans_are_read_between_their_tokens() -> None:
    trace = make_trace()
    np.testing.assert_allclose(trace.planned(0, np.array([0, 8, 300])), trace.future(0)[1][[0, 2, -1]])
    middle = trace.planned(0, np.array([12]))[0]
    np.testing.assert_allclose(middle, trace.plan_observations[0, 1:3].mean(axis=0))
    assert (trace.offsets[0, trace.due] >= trace.time_to_reach).all()


def test_of_many_decisions_some_are_drawn() -> None:
    trace = make_trace()  # decides every REPLAN steps
    assert np.array_equal(trace.thinned(REPLAN).plan_step, trace.plan_step)
    thin = trace.thinned(2 * REPLAN + 1)  # every third
    assert np.array_equal(thin.plan_step, trace.plan_step[::3]) and thin.steps == trace.steps
    assert np.array_equal(thin.energies, trace.energies[::3]) and thin.followed.sum() == trace.steps
    turns = np.zeros(trace.decisions, bool)
    turns[1] = True
    assert thin.plan_turns is None
    assert replace(trace, plan_turns=turns).thinned(2 * REPLAN).plan_step[1] == trace.plan_step[1]


def test_episodes_are_chosen_from_every_task() -> None:
    def head(task: int, episode: int, success: bool) -> TraceHead:
        return TraceHead(Path(f"{task}-{episode}"), task, episode, 0, success, 10)

    heads = [head(task, episode, episode != 1) for task in range(1, 6) for episode in range(3)]
    chosen = choose_episodes(heads)
    assert [(item.task, item.episode) for item in chosen[:5]] == [(task, 0) for task in range(1, 6)]
    assert [item.task for item in chosen[5:]] == [1, 2, 3, 4, 5]
    single = choose_episodes([head(1, episode, episode < 4) for episode in range(20)])
    assert [item.success for item in single] == [True] * 3 + [False] * 6
