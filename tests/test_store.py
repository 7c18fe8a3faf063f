"""EpisodeStore: what goes in comes out, and whatever cannot be trusted is refused by name."""

from __future__ import annotations

import os
import pickle
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from thalweg.data import arrays as checks
from thalweg.data import npz
from thalweg.data import store as store_module
from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError

ENDS = (4, 10, 13)


def dataset(**changes) -> dict[str, np.ndarray]:
    """Three episodes in OGBench's layout; a change to None leaves that key out."""
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(13, 3)).astype(np.float32),
        "actions": rng.normal(size=(13, 2)).astype(np.float32),
        "terminals": np.isin(np.arange(13), np.subtract(ENDS, 1)),
        "qpos": rng.normal(size=(13, 5)).astype(np.float32),
        "button_states": rng.integers(0, 2, (13, 4)),
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def write(path, save=np.savez, **changes):
    save(path, **dataset(**changes))
    return path


def refused(path, match):
    """Opening ``path`` fails once, by name, and leaves nothing but the data behind."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(ThalwegError, match=match):
        EpisodeStore.open(path)
    assert sorted(path.parent.rglob("*")) == before


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_is_opened_memory_mapped_and_equal(tmp_path, save):
    store = EpisodeStore.open(write(tmp_path / "set.npz", save))
    for key, value in dataset(terminals=None).items():
        opened = {"observations": store.observations, "actions": store.actions, **store.extra}[key]
        assert isinstance(opened, np.memmap) and not opened.flags.writeable
        assert opened.dtype == value.dtype and np.array_equal(opened, value)
    assert store.starts.tolist() == [0, 4, 10] and store.ends.tolist() == [4, 10, 13]
    assert (len(store), store.rows, store.transitions) == (3, 13, 10)
    assert sorted(store.extra) == ["button_states", "qpos"]


def test_arrays_and_files_of_the_same_data_have_one_fingerprint(tmp_path):
    data = (dataset()["observations"], dataset()["actions"])
    memory = EpisodeStore.from_arrays(*data, dataset()["terminals"])
    by_lengths = EpisodeStore.from_arrays(*data, lengths=np.array([4, 6, 3]))
    file = EpisodeStore.open(write(tmp_path / "set.npz"))
    assert memory.fingerprint == by_lengths.fingerprint == file.fingerprint
    assert len(EpisodeStore.from_arrays(*data)) == 1  # neither terminals nor lengths


def test_any_change_changes_the_fingerprint():
    arrays, values = dataset(qpos=None, button_states=None), np.arange(65, dtype=np.float32)
    last = arrays["observations"].copy()
    last[12, 2] = np.nextafter(last[12, 2], np.inf, dtype=np.float32)
    changes = [
        {},
        {"observations": last},
        {"actions": -arrays["actions"]},
        {"actions": None},
        {"terminals": np.isin(np.arange(13), (4, 9, 12))},
        {"observations": values[:39].reshape(13, 3), "actions": values[39:].reshape(13, 2)},
        {"observations": values[:26].reshape(13, 2), "actions": values[26:].reshape(13, 3)},
    ]
    assert len({EpisodeStore.from_arrays(**(arrays | change)).fingerprint for change in changes}) == 7


def test_a_folder_is_its_files_end_to_end_in_the_order_of_names(tmp_path, monkeypatch):
    for module in (checks, npz):  # so that copying and checking go by several blocks
        monkeypatch.setattr(module, "ROWS", 5)
    whole = dataset()
    (tmp_path / "set").mkdir()
    for name, rows in (("b", slice(4, 13)), ("a", slice(0, 4))):
        np.savez(tmp_path / "set" / f"{name}.npz", **{key: value[rows] for key, value in whole.items()})
    store = EpisodeStore.open(tmp_path / "set")
    assert np.array_equal(store.observations, whole["observations"]) and store.ends.tolist() == list(ENDS)
    assert np.array_equal(store.extra["button_states"], whole["button_states"])
    monkeypatch.undo()
    assert store.fingerprint == EpisodeStore.open(write(tmp_path / "whole.npz")).fingerprint


def test_an_episode_is_its_rows(tmp_path):
    store, arrays = EpisodeStore.open(write(tmp_path / "set.npz")), dataset(terminals=None)
    for index, rows in ((0, slice(0, 4)), (2, slice(10, 13)), (-1, slice(10, 13))):
        episode = store.episode(index)
        assert episode.keys() == arrays.keys()
        assert all(np.array_equal(episode[key], value[rows]) for key, value in arrays.items())
    for index in (3, -4):
        with pytest.raises(ThalwegError, match=f"no episode {index}; .*set.npz holds 3"):
            store.episode(index)


def test_action_free_data_and_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (13, 8, 8, 3), dtype=np.uint8)
    store = EpisodeStore.open(write(tmp_path / "set.npz", observations=images, actions=None))
    assert store.actions is None and "actions" not in store.episode(0)
    assert store.observations.dtype == np.uint8 and np.array_equal(store.observations, images)


def test_integer_vectors_become_float32_so_that_differences_do_not_wrap(tmp_path):
    steps = np.random.default_rng(0).integers(0, 256, (13, 3))
    for dtype in (np.uint8, np.int64):
        changes = {"observations": steps.astype(dtype), "actions": steps[:, :2].astype(dtype)}
        for store in (
            EpisodeStore.open(write(tmp_path / f"{np.dtype(dtype)}.npz", **changes)),
            EpisodeStore.from_arrays(**changes),
        ):
            assert store.observations.dtype == store.actions.dtype == np.float32
            assert np.array_equal(np.diff(store.observations, axis=0), np.diff(steps, axis=0))
            assert np.array_equal(store.actions, steps[:, :2])


def unlabelled(*episodes: int) -> np.ndarray:
    """Actions that are NaN throughout the given episodes."""
    actions = dataset()["actions"]
    for index in episodes:
        actions[(0, *ENDS)[index] : ENDS[index]] = np.nan
    return actions


@pytest.mark.parametrize("without", [(), (0,), (1,), (0, 2), (0, 1, 2)])
def test_episodes_without_actions_are_told_from_those_with(tmp_path, monkeypatch, without):
    for module in (checks, npz):  # so that an episode lies in several blocks
        monkeypatch.setattr(module, "ROWS", 3)
    changes = {"actions": unlabelled(*without)}
    memory = EpisodeStore.from_arrays(dataset()["observations"], lengths=[4, 6, 3], **changes)
    for store in (memory, EpisodeStore.open(write(tmp_path / "set.npz", **changes))):
        assert store.labelled.tolist() == sorted({0, 1, 2} - set(without))
        assert np.array_equal(store.actions, changes["actions"], equal_nan=True)
    assert EpisodeStore.from_arrays(dataset()["observations"]).labelled.tolist() == []


@pytest.mark.parametrize(
    ("row", "value", "named"),
    [
        (1, np.nan, "step 1"),
        (9, [np.nan, 0], "step 9"),
        (9, np.inf, "step 9"),
        (5, 0.5, "step 0"),
        (5, np.inf, "step 0"),
    ],
)
def test_an_episode_has_all_of_its_actions_or_none(row, value, named):
    actions = np.full((13, 2), np.nan if named == "step 0" else 1.0)
    actions[row] = value
    named = f"episode 0, key actions, {named} is not finite; an episode without actions is NaN in all its rows"
    with pytest.raises(ThalwegError, match=named):
        EpisodeStore.from_arrays(np.zeros((13, 3)), actions)


@pytest.mark.parametrize(
    "ends",
    [
        {"dones": dataset()["terminals"]},
        {"terminal": dataset()["terminals"].astype(np.float32)[:, None]},
        {"timeouts": dataset()["terminals"].astype(np.int64)},
        {"lengths": np.array([4, 6, 3])},
    ],
)
def test_ends_of_episodes_under_another_name_are_refused(tmp_path, ends):
    (key,) = ends
    named = f"set.npz: unknown key '{key}' and no 'terminals'; .*known keys: 'observations', .*'terminals'"
    refused(write(tmp_path / "set.npz", terminals=None, **ends), named)


def test_keys_that_tell_no_ends_are_left_out(tmp_path):
    arrays = dataset(terminals=None, next_observations=np.zeros((13, 3)), rewards=np.zeros(13), masks=np.ones(13))
    arrays |= {"camera": np.zeros((13, 4, 4), np.uint8), "rate": np.float32(20), "names": np.array(["x", "y"])}
    np.savez(tmp_path / "one.npz", **arrays)
    np.savez(tmp_path / "ends.npz", dones=np.zeros(13), **arrays, terminals=dataset()["terminals"])
    for name, episodes in (("one", 1), ("ends", 3)):
        store = EpisodeStore.open(tmp_path / f"{name}.npz")
        assert len(store) == episodes and sorted(store.extra) == ["button_states", "qpos"]


def test_other_number_types_become_float32(tmp_path):
    observations = dataset()["observations"]
    write(tmp_path / "set.npz", observations=observations.astype(">f8"), terminals=None)
    store = EpisodeStore.open(tmp_path / "set.npz")
    assert store.observations.dtype == np.float32 and np.array_equal(store.observations, observations)
    assert store.ends.tolist() == [13]


def test_the_cache_is_used_again_and_refreshed_when_the_file_changes(tmp_path, monkeypatch):
    path = write(tmp_path / "set.npz")
    first = EpisodeStore.open(path)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "unpack_npz", lambda *_: pytest.fail("unpacked again"))
        assert EpisodeStore.open(path).fingerprint == first.fingerprint
    write(path, observations=dataset()["observations"] + 1)
    os.utime(path, ns=(0, 1))  # clocks may be too coarse to tell the two writes apart
    assert np.array_equal(EpisodeStore.open(path).observations, dataset()["observations"] + 1)
    assert np.array_equal(first.observations, dataset()["observations"])  # a store in use keeps its data
    write(path, actions=None, terminals=None)
    os.utime(path, ns=(0, 2))
    assert EpisodeStore.open(path).actions is None
    assert len(list((tmp_path / "set.npz.store").iterdir())) == 1  # older versions are cleared away


@pytest.mark.parametrize("damage", ["index", "cut index", "array", "cut array"])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    path = write(tmp_path / "set.npz")
    EpisodeStore.open(path)
    name = "index.json" if "index" in damage else "observations.npy"
    (broken,) = tmp_path.glob(f"set.npz.store/*/{name}")
    if "cut" in damage:
        broken.write_bytes(broken.read_bytes()[:40])
    else:
        broken.unlink()
    assert np.array_equal(EpisodeStore.open(path).observations, dataset()["observations"])


def test_sets_of_similar_names_do_not_share_a_cache(tmp_path):
    names = ("set.npz", "set", "set.v1", "set.v2")
    for shift, name in enumerate(names):
        folder = tmp_path / name
        if not name.endswith(".npz"):
            folder.mkdir()
            folder = folder / "0.npz"
        write(folder, observations=dataset()["observations"] + shift)
        os.utime(folder, ns=(0, 0))
    for _ in range(2):
        for shift, name in enumerate(names):
            assert np.array_equal(EpisodeStore.open(tmp_path / name).observations, dataset()["observations"] + shift)
    assert len(list(tmp_path.glob("*.store"))) == len(names)


def test_the_working_folder_can_be_opened(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "a.npz")
    monkeypatch.chdir(tmp_path / "set")
    assert len(EpisodeStore.open(".")) == 3


def test_a_set_beside_which_nothing_can_be_written_is_cached_at_home(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    path = write(tmp_path / "data" / "set.npz")
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(EpisodeStore.open(path)) == 3
    assert os.listdir(tmp_path / "data") == ["set.npz"]


def test_a_new_set_may_be_opened_by_several_at_the_same_time(tmp_path):
    expected, count = EpisodeStore.open(write(tmp_path / "again.npz")).fingerprint, 8
    barrier = threading.Barrier(count)

    def open_together(path):
        barrier.wait()
        return EpisodeStore.open(path).fingerprint

    with ThreadPoolExecutor(count) as pool:
        for attempt in range(5):
            path = write(tmp_path / f"set{attempt}.npz")
            assert set(pool.map(open_together, [path] * count)) == {expected}
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_cut_anywhere_is_refused(tmp_path, save):
    whole = write(tmp_path / "whole.npz", save).read_bytes()
    (tmp_path / "whole.npz").unlink()
    cut = tmp_path / "cut.npz"
    for size in {0, 1, 30, 100, len(whole) // 2, len(whole) - 300, len(whole) - 22, len(whole) - 1}:
        cut.write_bytes(whole[:size])
        refused(cut, "cut.npz")


def flip(whole: bytes, place: int, bits: int) -> bytes:
    return whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_byte_is_refused_or_harmless(tmp_path, save):
    whole = write(tmp_path / "set.npz", save).read_bytes()
    expected = EpisodeStore.open(tmp_path / "set.npz").fingerprint
    with zipfile.ZipFile(tmp_path / "set.npz") as archive:
        places = range(0, archive.start_dir, 7)
    caught = 0
    for place in places:
        path = tmp_path / f"{place}.npz"
        path.write_bytes(flip(whole, place, 0xFF))
        try:
            store = EpisodeStore.open(path)  # a flipped date does no harm
            assert store.fingerprint == expected
            assert all(np.array_equal(value, dataset()[key]) for key, value in store.extra.items())
        except ThalwegError as error:
            caught += 1
            assert path.name in str(error) and not (tmp_path / f"{place}.npz.store").exists()
    assert caught > 0.6 * len(places) and not list(tmp_path.glob("*.tmp"))


def test_a_flipped_name_or_checksum_in_the_table_of_contents_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, observations=np.zeros((100_000, 3)), actions=np.zeros((100_000, 2)))
    whole = path.read_bytes()
    for key in ("observations", "actions"):
        entry = whole.rindex(f"{key}.npy".encode())
        for place in (entry, entry - 30):  # the name, and its checksum
            path.write_bytes(flip(whole, place, 1))
            refused(path, "set.npz.*(damaged|not a readable)")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("key", ["observations", "terminals"])
def test_damage_deep_in_a_large_member_is_refused(tmp_path, save, key):
    rng, path = np.random.default_rng(0), tmp_path / "set.npz"
    ends = np.cumsum(rng.integers(2, 9, 5000))
    terminals = np.isin(np.arange(ends[-1]), ends - 1)  # with a bit flipped they are still 0 and 1
    save(path, observations=rng.normal(size=(ends[-1], 2)), terminals=terminals)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{key}.npy")
    for share in np.linspace(0, 1, 8):
        place = member.header_offset + 300 + int(share * (member.compress_size - 300))
        path.write_bytes(flip(whole, place, 1))
        refused(path, f"set.npz: {key} cannot be read")


@pytest.mark.parametrize(("row", "episode", "step"), [(0, 0, 0), (3, 0, 3), (4, 1, 0), (12, 2, 2)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("key", ["observations", "actions", "qpos"])
def test_a_value_that_is_not_finite_is_refused_by_episode_key_and_step(
    tmp_path, monkeypatch, key, value, row, episode, step
):
    for module in (checks, npz):
        monkeypatch.setattr(module, "ROWS", 5)
    arrays = dataset()
    arrays[key][row, 1] = value
    named = f"episode {episode}, key {key}, step {step} is not finite"
    refused(write(tmp_path / "set.npz", **arrays), f"set.npz: {named}")
    with pytest.raises(ThalwegError, match=named):
        EpisodeStore.from_arrays(
            arrays["observations"], arrays["actions"], arrays["terminals"], extra={"qpos": arrays["qpos"]}
        )


RAGGED = np.array([np.zeros(3), np.zeros(2)] + [np.zeros(3)] * 11, dtype=object)
BAD_SETS = {
    "ragged": ({"observations": RAGGED}, "observations .*(ragged|object)"),
    "ragged buttons": ({"button_states": RAGGED}, "button_states .*(ragged|object)"),
    "ragged terminals": ({"terminals": RAGGED}, "terminals"),
    "missing": ({"observations": None}, "no key 'observations'; it has .*'actions'"),
    "rows": ({"actions": np.zeros((12, 2), np.float32)}, "actions has 12 rows, observations have 13"),
    "few terminals": ({"terminals": np.ones(12, bool)}, r"terminals has shape \(12,\), expected \(13,\)"),
    "wide terminals": ({"terminals": np.ones((13, 1), bool)}, r"terminals has shape \(13, 1\)"),
    "open end": ({"terminals": np.isin(np.arange(13), (3, 9))}, "episode 2 is truncated"),
    "no end": ({"terminals": np.zeros(13, bool)}, "episode 0 is truncated"),
    "odd terminals": ({"terminals": np.full(13, 0.5)}, "terminals holds values other than 0 and 1"),
    "short": ({"terminals": np.isin(np.arange(13), (3, 4, 12))}, "episode 1 has fewer than 2 rows"),
    "text": ({"observations": np.full((13, 2), "7")}, "observations has dtype <U1"),
    "complex": ({"actions": np.zeros((13, 2), complex)}, "actions has dtype complex128"),
    "flags": ({"observations": np.zeros((13, 2), bool)}, "observations has dtype bool"),
    "text buttons": ({"button_states": np.full((13, 2), "7")}, "button_states has dtype <U1"),
    "empty": ({key: value[:0] for key, value in dataset().items()}, r"observations has shape \(0, 3\)"),
    "flat": ({"observations": np.zeros(13, np.float32)}, r"observations has shape \(13,\)"),
    "single": ({"observations": np.float32(1)}, r"observations has shape \(\)"),
    "single action": ({"actions": np.float32(1)}, r"actions has shape \(\)"),
    "no width": ({"actions": np.zeros((13, 0), np.float32)}, r"actions has shape \(13, 0\)"),
    "deep actions": ({"actions": np.zeros((13, 2, 2), np.float32)}, r"actions has shape \(13, 2, 2\)"),
    "fortran": ({"observations": np.zeros((3, 13), np.float32).T}, "observations.* Fortran order"),
}


@pytest.mark.parametrize("case", BAD_SETS)
def test_a_bad_set_is_refused_by_name(tmp_path, case):
    changes, named = BAD_SETS[case]
    refused(write(tmp_path / "set.npz", **changes), f"set.npz: {named}")


@pytest.mark.parametrize(
    ("second", "named"),
    [
        ({"actions": None}, "b.npz: keys .* differ from those of a.npz"),
        ({"qpos": np.zeros((13, 6), np.float32)}, r"b.npz: qpos has shape \(6,\) a row, a.npz has \(5,\)"),
        (
            {"button_states": np.zeros((13, 4), np.int8)},
            "b.npz: button_states has dtype int8, a.npz has int64",
        ),
        ({"observations": np.full((13, 3), "7")}, "b.npz: observations has dtype <U1"),
        ({"observations": None}, "b.npz: no key 'observations'"),
        ({"terminals": np.zeros(13, bool)}, "b.npz: episode 0 is truncated"),
    ],
)
def test_files_of_a_folder_must_agree(tmp_path, second, named):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "a.npz")
    write(tmp_path / "set" / "b.npz", **second)
    refused(tmp_path / "set", named)


def test_what_is_no_npz_is_refused(tmp_path):
    for name, content in (
        ("text.npz", b"episode,step,x\n0,0,1.5\n"),
        ("array.npz", b"\x93NUMPY\x01\x00" + bytes(80)),
        ("pickle.npz", pickle.dumps(dataset())),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, f"{name} is not a readable .npz")
        (tmp_path / name).unlink()
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("observations.npy", "not an array")
    refused(tmp_path / "zip.npz", "zip.npz is not a readable .npz")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty holds no .npz")
    refused(tmp_path / "nowhere.npz", "no dataset at .*nowhere.npz")


def test_a_member_longer_than_its_header_says_is_refused(tmp_path):
    np.save(tmp_path / "long.npy", dataset()["observations"])
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("observations.npy", (tmp_path / "long.npy").read_bytes() + bytes(12))
    refused(tmp_path / "set.npz", r"observations has 168 bytes of data, its header says \(13, 3\)")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"observations": RAGGED}, "observations is ragged"),
        ({"observations": [[1.0, 2.0], [1.0]]}, "observations is ragged"),
        ({"observations": np.zeros(4)}, r"observations has shape \(4,\)"),
        ({"observations": np.zeros((0, 3))}, r"observations has shape \(0, 3\)"),
        ({"observations": np.full((4, 1), "a")}, "observations has dtype <U1"),
        ({"actions": np.zeros((3, 1))}, "actions has 3 rows, observations have 4"),
        ({"extra": {"qpos": np.zeros((5, 1))}}, "qpos has 5 rows, observations have 4"),
        ({"lengths": [2, 3]}, "lengths add up to 5, there are 4 rows"),
        ({"lengths": []}, "lengths add up to 0"),
        ({"lengths": [4, -2, 2]}, "episode 1 has fewer than 2 rows"),
        ({"lengths": [3, 1]}, "episode 1 has fewer than 2 rows"),
        ({"lengths": [4], "terminals": [0, 0, 0, 1]}, "terminals or lengths, not both"),
    ],
)
def test_bad_arrays_are_refused_by_name(arguments, named):
    with pytest.raises(ThalwegError, match=f"mine: .*{named}|mine: {named}"):
        EpisodeStore.from_arrays(**({"observations": np.zeros((4, 2))} | arguments), source="mine")


def filmed(**changes):
    """Two episodes with a camera and instructions, as keywords of ``np.savez``."""
    frames = np.arange(9 * 4 * 5 * 3, dtype=np.uint8).reshape(9, 4, 5, 3)
    return {
        "observations": np.arange(18, dtype=np.float32).reshape(9, 2),
        "terminals": np.isin(np.arange(9), (3, 8)),
        "camera_front": frames,
        "instructions": np.array(["open the drawer", "close it"]),
    } | changes


def test_cameras_and_instructions_go_with_the_episodes(tmp_path):
    arrays = filmed()
    np.savez(tmp_path / "set.npz", **arrays)
    store = EpisodeStore.open(tmp_path / "set.npz")
    assert store.instructions == ("open the drawer", "close it") and store.extra == {}
    assert np.array_equal(store.cameras["front"], arrays["camera_front"])
    assert np.array_equal(store.episode(1)["front"], arrays["camera_front"][4:])
    memory = EpisodeStore.from_arrays(
        arrays["observations"],
        terminals=arrays["terminals"],
        cameras={"front": arrays["camera_front"]},
        instructions=arrays["instructions"],
    )
    assert memory.fingerprint == store.fingerprint
    np.savez(tmp_path / "other.npz", **filmed(instructions=np.array(["open the drawer", "leave it"])))
    np.savez(tmp_path / "blind.npz", **filmed(camera_front=arrays["camera_front"][::-1]))
    others = [EpisodeStore.open(tmp_path / f"{name}.npz").fingerprint for name in ("other", "blind")]
    assert len({store.fingerprint, *others}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instructions": np.array(["only one"])}, "1 instructions for 2 episodes"),
        ({"instructions": np.array(["open", "  "])}, "the instruction of episode 1 is empty"),
        ({"instructions": np.zeros(2)}, "instructions has dtype float64"),
        ({"camera_front": np.zeros((9, 4, 5, 3), np.float32)}, "camera 'front' has shape .* float32"),
        ({"camera_front": np.zeros((9, 4, 5, 1), np.uint8)}, r"camera 'front' has shape \(9, 4, 5, 1\)"),
        ({"camera_front": np.zeros((8, 4, 5, 3), np.uint8)}, "camera_front has 8 rows, observations have 9"),
    ],
)
def test_wrong_cameras_and_instructions_are_named(tmp_path, changes, message):
    np.savez(tmp_path / "set.npz", **filmed(**changes))
    with pytest.raises(ThalwegError, match=message):
        EpisodeStore.open(tmp_path / "set.npz")
