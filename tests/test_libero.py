"""LIBERO: demonstrations and environment speak one language, and what is not LIBERO's is refused by name."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from thalweg.data.libero import is_libero, open_libero, read_demonstration
from thalweg.envs import libero_conventions as conventions
from thalweg.envs import make_env, official_tasks
from thalweg.errors import ThalwegError

h5py = pytest.importorskip("h5py")
pytest.importorskip("gymnasium")
libero = pytest.importorskip("thalweg.envs.libero")

SIZE = 8
TASKS = (3, 10)
LENGTHS = {3: (7, 5), 10: (6,)}
FIRST = {3: 9, 10: 0}  #: number of a task's first demonstration: 9 comes before 10
DRIFT = np.array([0.002, 0, 0])  #: metres that the hand moves by itself at each step
MODEL = '<mujoco><worldbody><body name="stove" pos="1 2 3"/><body name="bowl"/></worldbody></mujoco>'


class World:
    """A stand-in for LIBERO's simulator: an arm that does what it is told, in robosuite's words and bottom row first.

    The state is the time, seven joints (the hand's place, its turn about x, and three idle), two fingers and a rest.
    """

    def __init__(self) -> None:
        self.state = np.zeros(11)
        self.taken: list[np.ndarray] = []
        names = ["world", "stove"]
        model = SimpleNamespace(body_names=names, body_name2id=names.index, body_pos=np.zeros((2, 3)))
        model.body_quat = np.zeros((2, 4))
        self.sim = SimpleNamespace(model=model)
        self.seeds: list[int] = []
        self.closed = False

    def seed(self, seed):
        self.seeds.append(seed)

    def reset(self):
        self.taken = []
        return self.observe()

    def get_sim_state(self):
        return self.state.copy()

    def set_init_state(self, state):
        self.state = np.array(state, float)
        return self.observe()

    def step(self, action):
        self.taken.append(np.asarray(action))
        self.state[0] += 0.05
        self.state[1:4] += 0.05 * action[:3] + DRIFT
        self.state[4] += 0.5 * action[3]
        self.state[8] = 0.04 if action[6] < 0 else 0.0
        self.state[9] = -self.state[8]
        return self.observe(), 0.0, False, {}

    def observe(self):
        turn = self.state[4] + 3.0
        frame = np.arange(SIZE * SIZE * 3).reshape(SIZE, SIZE, 3) + int(1000 * self.state[1])
        return {
            "robot0_eef_pos": self.state[1:4].copy(),
            "robot0_eef_quat": np.array([np.sin(turn / 2), 0, 0, np.cos(turn / 2)]),
            "robot0_gripper_qpos": self.state[8:10].copy(),
            "robot0_joint_pos": self.state[1:8].copy(),
            "agentview_image": frame.astype(np.uint8),
            "robot0_eye_in_hand_image": (frame + 7).astype(np.uint8),
        }

    def check_success(self):
        return self.state[3] > 0.1

    def close(self):
        self.closed = True


def some_actions(length: int, seed: int) -> np.ndarray:
    actions = np.random.default_rng(seed).uniform(-0.9, 0.9, (length, 7))
    actions[:, 2] = 0.9
    actions[:, 6] = np.where(np.arange(length) < length // 2, -1, 1)
    return actions


def record(group, length: int, seed: int, *, after: bool) -> None:
    """One demonstration, as LIBERO's create_dataset writes it, or as OpenVLA's regeneration does."""
    world, rows = World(), []
    raw = world.set_init_state(np.random.default_rng(seed).normal(size=11) * 0.1)
    first = world.get_sim_state()
    if not after:
        for _ in range(conventions.SETTLE):
            raw = world.step(np.array(conventions.NO_OP))[0]
    actions, states = some_actions(length, seed), []
    for step, action in enumerate(actions):
        states.append(first if step == 0 else world.get_sim_state())
        seen = world.step(action)[0]
        rows.append(seen if after else raw)
        raw = seen
    hand = [np.hstack([row["robot0_eef_pos"], conventions.axis_angle(row["robot0_eef_quat"])]) for row in rows]
    keys = {
        "ee_states": np.stack(hand),
        "ee_pos": np.stack(hand)[:, :3],
        "ee_ori": np.stack(hand)[:, 3:],
        "gripper_states": np.stack([row["robot0_gripper_qpos"] for row in rows]),
        "joint_states": np.stack([row["robot0_joint_pos"] for row in rows]),
        "agentview_rgb": np.stack([row["agentview_image"] for row in rows]),
        "eye_in_hand_rgb": np.stack([row["robot0_eye_in_hand_image"] for row in rows]),
    }
    for key, value in keys.items():
        group.create_dataset(f"obs/{key}", data=value)
    group.create_dataset("actions", data=actions)
    group.create_dataset("states", data=np.stack(states))
    group.create_dataset("dones", data=np.arange(length) == length - 1)
    if after:
        group.attrs["num_samples"] = length
        group.attrs["init_state"] = states[0]
        group.attrs["model_file"] = MODEL


def write(folder, *, after: bool = True):
    """A file for each of two tasks; returns the folder."""
    folder.mkdir(exist_ok=True)
    for task in TASKS:
        instruction = conventions.INSTRUCTIONS[task - 1]
        name = f"KITCHEN_SCENE{task}_{instruction.replace(' ', '_')}_demo.hdf5"
        with h5py.File(folder / name, "w") as file:
            data = file.create_group("data")
            for number, length in enumerate(LENGTHS[task]):
                record(data.create_group(f"demo_{FIRST[task] + number}"), length, 10 * task + number, after=after)
            if after:
                controller = {"env_kwargs": {"controller_configs": {"type": "OSC_POSE"}}}
                data.attrs["num_demos"] = len(LENGTHS[task])
                data.attrs["total"] = sum(LENGTHS[task])
                data.attrs["macros_image_convention"] = "opengl"
                data.attrs["env_args"] = json.dumps(controller)
                data.attrs["problem_info"] = json.dumps({"language_instruction": f'"{instruction}"'})
    return folder


@pytest.fixture
def env(monkeypatch):
    """LIBERO-LONG on the stand-in for its simulator."""
    tasks = tuple(libero.Task(i, text, None, None) for i, text in enumerate(conventions.INSTRUCTIONS, start=1))
    monkeypatch.setattr(libero, "libero_tasks", lambda: tasks)
    monkeypatch.setattr(libero, "_simulator", lambda task, size: (World(), "opengl"))
    monkeypatch.setattr(libero, "_initial_states", lambda path: np.arange(50)[:, None] * 0.001 + np.zeros((50, 11)))
    return libero.LiberoLong(size=SIZE)


@pytest.mark.parametrize("after", [True, False])
def test_what_a_row_and_its_action_led_to_is_the_next_row(tmp_path, after):
    store = open_libero(write(tmp_path / "libero_10", after=after))
    lengths = [length for task in sorted(TASKS, key=str) for length in LENGTHS[task]]
    assert np.diff(store.ends, prepend=0).tolist() == lengths and store.rows == 18
    told = [conventions.INSTRUCTIONS[task - 1] for task in sorted(TASKS, key=str) for _ in LENGTHS[task]]
    assert store.instructions == tuple(told)
    seeds = [10 * task + number for task in sorted(TASKS, key=str) for number in range(len(LENGTHS[task]))]
    for episode, seed in zip(map(store.episode, range(len(store))), seeds, strict=True):
        seen, actions = episode["observations"], episode["actions"]
        assert np.allclose(np.diff(seen[:, :3], axis=0), 0.05 * actions[:-1, :3] + DRIFT, atol=1e-6)
        assert np.allclose(seen[1:, 6], np.where(actions[:-1, 6] < 0, 0.04, 0))
        own = some_actions(len(actions), seed)
        np.testing.assert_allclose(actions[:-1], own[1:] if after else own[:-1], atol=1e-6)
        np.testing.assert_allclose(actions[-1], [0, 0, 0, 0, 0, 0, 1] if after else own[-1], atol=1e-6)


def test_a_store_is_mapped_and_unpacked_once(tmp_path):
    folder = write(tmp_path / "libero_10")
    store = open_libero(folder)
    assert isinstance(store.observations, np.memmap) and not store.observations.flags.writeable
    assert {name: frames.shape for name, frames in store.cameras.items()} == {
        "agentview": (18, SIZE, SIZE, 3),
        "wrist": (18, SIZE, SIZE, 3),
    }
    (cached,) = (tmp_path / "libero_10.store").iterdir()
    written = (cached / "actions.npy").stat().st_mtime_ns
    assert open_libero(folder).fingerprint == store.fingerprint
    assert (cached / "actions.npy").stat().st_mtime_ns == written
    sorted(folder.iterdir())[0].unlink()
    assert len(open_libero(folder)) < len(store)
    assert is_libero(folder) and is_libero(next(folder.iterdir())) and not is_libero(tmp_path)


def test_a_recording_and_the_environment_give_the_same_observation(tmp_path, env):
    file = sorted(write(tmp_path / "libero_10").iterdir())[0]
    recorded = open_libero(file).episode(0)
    demonstration = read_demonstration(file)
    options = {"task_id": 10, "state": demonstration.state, "settle": 0}
    observation, info = env.reset(options=options)
    assert info["instruction"] == demonstration.instruction == conventions.INSTRUCTIONS[9]
    for row, action in enumerate(demonstration.actions):
        observation, *_ = env.step(action)
        assert env.observation_space.contains(observation)
        assert np.allclose(observation["proprioception"], recorded["observations"][row], atol=1e-6)
        for name in conventions.CAMERAS:
            assert np.array_equal(observation[name], recorded[name][row])


def test_frames_are_turned_by_half_a_turn_from_the_bottom_row_up():
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)  # the bottom row first: 0 lower left, 3 lower right
    lerobot = conventions.upright(frame, "opengl")
    assert lerobot[..., 0].tolist() == [[9, 6], [3, 0]]  # the upper row first, right and left exchanged
    assert np.array_equal(conventions.upright(frame[::-1], "opencv"), lerobot)
    assert np.array_equal(conventions.upright(lerobot, "lerobot"), lerobot)
    with pytest.raises(ThalwegError, match="convention 'metal'; choose one of 'opengl', 'opencv', 'lerobot'"):
        conventions.upright(frame, "metal")


def test_a_rotation_passes_half_a_turn_without_a_jump():
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    axis = np.array([0.6, 0.0, 0.8])
    found = [conventions.axis_angle(np.array([*axis * np.sin(a / 2), np.cos(a / 2)])) for a in angles]
    assert np.allclose(found, angles[:, None] * axis, atol=1e-6)
    if find_spec("robosuite"):
        from robosuite.utils.transform_utils import quat2axisangle

        quaternions = np.random.default_rng(0).normal(size=(50, 4))
        for one in quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True):
            assert np.allclose(conventions.axis_angle(one), quat2axisangle(one.copy()))


@pytest.mark.parametrize("after", [True, False])
def test_a_replay_agrees_with_its_recording(tmp_path, env, after):
    files = sorted(write(tmp_path / "libero_10", after=after).iterdir())
    for file, number in zip(files, (0, 10), strict=True):
        replay = conventions.replay(env, read_demonstration(file, number))
        assert max(replay.position.max(), replay.rotation.max(), replay.gripper.max()) < 1e-3 and replay.success
        assert len(replay.position) == len(replay.rotation) == len(replay.gripper)
        assert str(replay).startswith("success; hand off by 0.0 mm")


@pytest.mark.parametrize(
    ("wrong", "measure", "least"),
    [
        (lambda actions: np.roll(actions, 1, axis=0), "position", 0.01),
        (lambda actions: actions * [-1, 1, 1, 1, 1, 1, 1], "position", 0.01),
        (lambda actions: actions * [1, 1, 1, 0.5, 1, 1, 1], "rotation", 0.1),
        (lambda actions: actions * [1, 1, 1, 1, 1, 1, -1], "gripper", 0.03),
    ],
)
def test_a_replay_shows_a_wrong_convention(tmp_path, env, wrong, measure, least):
    file = sorted(write(tmp_path / "libero_10").iterdir())[1]
    told = vars(read_demonstration(file, 9))
    replay = conventions.replay(env, conventions.Demonstration(**(told | {"actions": wrong(told["actions"])})))
    assert getattr(replay, measure).max() > least


def test_success_counts_at_any_step_of_a_replay(tmp_path, env):
    told = vars(read_demonstration(sorted(write(tmp_path / "libero_10").iterdir())[0]))
    for heights, success in (([0.9] * 3 + [-0.9] * 3, True), ([-0.9] * 6, False)):
        actions = np.hstack([told["actions"][:, :2], np.array(heights)[:, None], told["actions"][:, 3:]])
        change = {"actions": actions, "state": np.zeros(11)}
        assert conventions.replay(env, conventions.Demonstration(**(told | change))).success == success


def test_a_replay_stands_the_furniture_as_recorded(tmp_path, env):
    file = sorted(write(tmp_path / "libero_10").iterdir())[0]
    told = vars(read_demonstration(file))
    conventions.replay(env, conventions.Demonstration(**told))
    assert env._world.sim.model.body_pos.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert env._world.sim.model.body_quat[1].tolist() == [1, 0, 0, 0]
    for change, named in (
        ({"state": np.zeros(9)}, "the state has 9 values, task 10's simulator has 11"),
        ({"model": "<mujoco"}, "no MJCF"),
        ({"instruction": "open the drawer"}, "no LIBERO-LONG task is 'open the drawer'; choose one of 'put both"),
    ):
        with pytest.raises(ThalwegError, match=named):
            conventions.replay(env, conventions.Demonstration(**(told | change)))


def change(key, value):
    """A change to a demonstration's dataset, by name; None removes it."""

    def changed(data):
        demo = data["demo_0"]
        del demo[key]
        if value is not None:
            demo.create_dataset(key, data=value)

    return changed


def attribute(name, value):
    return lambda data: data.attrs.__setitem__(name, value)


ROWS = LENGTHS[10][0]
BAD = {
    "no key": (
        change("obs/agentview_rgb", None),
        r"demo_0: no key 'obs/agentview_rgb'; it has \['ee_ori', .*'joint_st",
    ),
    "no actions": (change("actions", None), r"demo_0: no key 'actions'; it has \['dones', 'obs', 'states'\]"),
    "no observations": (change("obs", None), "demo_0: no group 'obs'"),
    "ragged": (
        change("obs/gripper_states", np.zeros((4, 2))),
        r"obs/gripper_states has shape \(4, 2\), expected \(6, 2\)",
    ),
    "ragged frames": (
        change("obs/eye_in_hand_rgb", np.zeros((4, 8, 8, 3), np.uint8)),
        "eye_in_hand_rgb has 4 rows, act",
    ),
    "other size": (
        change("obs/agentview_rgb", np.zeros((6, 4, 8, 3), np.uint8)),
        r"frames .* differ from .*\(4, 8, 3\)",
    ),
    "gray": (change("obs/agentview_rgb", np.zeros((6, 8, 8, 1), np.uint8)), "camera 'agentview_rgb' has shape"),
    "no bytes": (change("obs/agentview_rgb", np.zeros((6, 8, 8, 3))), "camera 'agentview_rgb' has .*float64"),
    "few values": (change("actions", np.zeros((6, 6))), r"actions has shape \(6, 6\), expected \(6, 7\)"),
    "few states": (change("states", np.zeros((5, 11))), "6 actions, 5 states, 6 obs/joint_states"),
    "no number": (
        change("obs/ee_states", np.full((6, 6), np.nan)),
        "episode 0, key observations, step 0 is not finite",
    ),
    "too far": (change("actions", np.full((6, 7), -5.0)), "row 0 has the value -5; LIBERO's lie within -1 and 1"),
    "demos": (attribute("num_demos", 50), "1 demonstrations, its num_demos is 50"),
    "convention": (attribute("macros_image_convention", "metal"), "unknown image convention 'metal'"),
    "instruction": (attribute("problem_info", "{}"), "the instruction of episode 0 is empty"),
    "no json": (attribute("problem_info", "{"), "its attribute 'problem_info' is no JSON"),
    "controller": (
        attribute("env_args", '{"env_kwargs": {"controller_configs": {"type": "JOINT_VELOCITY"}}}'),
        "the controller 'JOINT_VELOCITY'; LIBERO's actions are those of 'OSC_POSE'",
    ),
}


def refused(path, named, parent):
    before = sorted(parent.rglob("*"))
    with pytest.raises(ThalwegError, match=named):
        open_libero(path)
    assert sorted(parent.rglob("*")) == before


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_by_name(tmp_path, case):
    spoil, named = BAD[case]
    folder = write(tmp_path / "libero_10")
    file = sorted(folder.iterdir())[0]
    with h5py.File(file, "a") as archive:
        spoil(archive["data"])
    if case in ("other size", "few values"):
        refused(folder, named, tmp_path)
    else:
        refused(file, named, tmp_path)


def test_a_gripper_of_another_range_is_refused(tmp_path):
    folder = write(tmp_path / "libero_10")
    for file in folder.iterdir():
        with h5py.File(file, "a") as archive:
            for demo in archive["data"].values():
                demo["actions"][:, 6] = (demo["actions"][:, 6] + 1) / 2
    refused(folder, "the gripper is never below 0; LIBERO's opens at -1 and closes at 1", tmp_path)


def test_what_is_no_demonstration_is_refused(tmp_path):
    folder = write(tmp_path / "libero_10")
    file = sorted(folder.iterdir())[0]
    file.write_bytes(file.read_bytes()[:3000])
    refused(folder, "not a readable HDF5 file, or is truncated", tmp_path)
    with h5py.File(file, "w") as archive:
        archive.create_group("observations")
    refused(folder, r"no group 'data'; it has \['observations'\]", tmp_path)
    other = write(tmp_path / "copies", after=False)
    sorted(other.iterdir())[0].rename(other / "a.hdf5")
    refused(other, "no attribute 'problem_info' that tells the instruction, nor a name TASK_demo.hdf5", tmp_path)
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no .hdf5 file", tmp_path)
    with pytest.raises(ThalwegError, match="has no demo_1; it has demo_0"):
        read_demonstration(sorted(write(tmp_path / "libero_10").iterdir())[0], 1)


def test_an_episode_begins_with_its_own_state_and_ends_at_the_limit(env, monkeypatch):
    observation, info = env.reset(seed=1_003_054, options={"task_id": 3})
    world = env._world
    assert info == {"instruction": conventions.INSTRUCTIONS[2]} and world.seeds == [1_003_054]
    assert np.isclose(observation["proprioception"][0], 0.024)  # state 54 of 50, in a circle, and ten steps
    assert [taken.tolist() for taken in world.taken] == [[0, 0, 0, 0, 0, 0, -1]] * 10
    assert env.observation_space.contains(observation)
    down = np.array([0, 0, -0.1, 0, 0, 0, 1], np.float32)
    steps = [env.step(down) for _ in range(libero.LIMIT)]
    assert [step[3] for step in steps] == [False] * 599 + [True] and not any(step[4]["success"] for step in steps)
    *_, info = env.step(np.array([0, 0, 100, 0, 0, 0, 1]))
    assert world.taken[-1][2] == 1 and not info["success"]
    while not info["success"]:
        _, reward, terminated, _, info = env.step(np.array([0, 0, 1, 0, 0, 0, 1]))
    assert terminated and reward == 1
    env.reset(options={"task_id": 3})
    assert env._world is world
    env.reset(options={"task_id": 4})
    assert env._world is not world and world.closed


def test_wrong_calls_are_refused(env):
    with pytest.raises(ThalwegError, match="step before reset"):
        env.step(np.zeros(7))
    with pytest.raises(ThalwegError, match="no task 11; choose from 1, 2, 3"):
        env.reset(options={"task_id": 11})
    env.reset()
    for action in (np.zeros(6), np.full(7, np.nan)):
        with pytest.raises(ThalwegError, match="has 7 finite values, got"):
            env.step(action)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that asks, as LIBERO's does, where its data are, unless a configuration tells."""
    inner = tmp_path / "site" / "libero" / "libero"
    inner.mkdir(parents=True)
    (inner.parent / "__init__.py").write_text("")
    (inner / "__init__.py").write_text(
        "import os\n"
        "folder = os.environ.get('LIBERO_CONFIG_PATH', os.path.expanduser('~/.libero'))\n"
        "if not os.path.exists(os.path.join(folder, 'config.yaml')): input('a custom path? ')\n"
        "told = open(os.path.join(folder, 'config.yaml')).read()\n"
    )
    for name in [name for name in sys.modules if name.split(".")[0] == "libero"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LIBERO_CONFIG_PATH", "")  # so that it is put back afterwards
    monkeypatch.delenv("LIBERO_CONFIG_PATH")
    monkeypatch.setattr(libero, "version", lambda name: "3.3.2")
    yield inner
    for name in [name for name in sys.modules if name.split(".")[0] == "libero"]:
        del sys.modules[name]


def test_importing_libero_asks_nothing(tmp_path, package):
    libero.configure()
    import libero.libero as imported

    assert json.loads(imported.told)["bddl_files"] == str(package / "bddl_files")
    assert not (tmp_path / "home").exists() and len(list((tmp_path / "cache").rglob("config.yaml"))) == 1


@pytest.mark.parametrize("named", [True, False])
def test_a_configuration_that_is_there_stays(tmp_path, package, monkeypatch, named):
    folder = tmp_path / ("mine" if named else "home/.libero")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("datasets: mine\n")
    if named:
        monkeypatch.setenv("LIBERO_CONFIG_PATH", str(folder))
    libero.configure()
    import libero.libero as imported

    assert imported.told == (folder / "config.yaml").read_text() == "datasets: mine\n"
    assert not (tmp_path / "cache").exists()


def test_a_folder_named_for_the_configuration_gets_one(tmp_path, package, monkeypatch):
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(tmp_path / "mine"))
    libero.configure()
    assert (tmp_path / "mine" / "config.yaml").is_file() and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("found", ["3.4.0", "3.10.1", "4.0.0"])
def test_a_mujoco_too_new_is_refused(package, monkeypatch, found):
    monkeypatch.setattr(libero, "version", lambda name: found)
    with pytest.raises(ThalwegError, match=f"MuJoCo {found} .*pip install 'mujoco>=3.1,<3.4'"):
        libero.configure()


def test_without_libero_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(libero, "find_spec", lambda name: None)
    with pytest.raises(ThalwegError, match=r"pip install 'thalweg\[libero\]'"):
        libero.LiberoLong()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The tasks of the installed package, whose configuration is none of the user's."""
    if find_spec("robosuite") is None or find_spec("libero") is None:
        pytest.skip("hf-libero is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIBERO_CONFIG_PATH", str(tmp_path_factory.mktemp("libero")))
        yield libero.libero_tasks()


def test_the_installed_benchmark_is_as_written_down(installed):
    assert tuple(task.instruction for task in installed) == conventions.INSTRUCTIONS
    assert tuple(task.number for task in installed) == libero.TASKS == tuple(range(1, 11))
    for task in installed:
        states = libero._initial_states(task.states)
        assert states.shape[0] == 50 and np.isfinite(states).all()
        assert np.allclose(states[:, 8], -states[:, 9], atol=1e-3) and (np.abs(states[:, 4] + 2.4) < 0.3).all()
        assert f"(:language {task.instruction})".lower() in task.scene.read_text().lower()


def test_missing_assets_are_named(installed, monkeypatch):
    from libero.libero import get_libero_path

    if Path(get_libero_path("assets")).exists():
        pytest.skip("LIBERO's assets are here")
    monkeypatch.setattr("libero.libero.get_assets_path", lambda: get_libero_path("assets"))
    with pytest.raises(ThalwegError, match="assets are missing .*lerobot/libero-assets"):
        libero.LiberoLong(size=SIZE).reset()


def test_libero_renders_what_its_policy_was_trained_on(env):
    for frame_size, side in ((None, 128), ((64, 64), 64)):
        made = make_env("libero-long", frame_size=frame_size)
        assert made.observation_space["wrist"].shape == (side, side, 3)
    with pytest.raises(ThalwegError, match=r"LIBERO's frames are square; the policy was trained on \(48, 64\)"):
        make_env("libero-long", frame_size=(48, 64))


def test_liberos_tasks_are_its_own(monkeypatch):
    monkeypatch.setattr("thalweg.envs.TASKS", (1, 2))
    assert official_tasks("libero-long") == (1, 2) and len(official_tasks("long-horizon")) == 10
