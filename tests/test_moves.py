"""Which moves recordings make, and which they never do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from thalweg.checkpoint import Provenance, load_checkpoint, save_checkpoint
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import WindowSampler, WindowSpec
from thalweg.errors import ThalwegError
from thalweg.moves import MoveModel, MoveModelConfig
from thalweg.pad.system import PaD
from thalweg.train import TrainConfig, train

WINDOWS = WindowSpec((1, 2, 4, 8), reach_high=60, settled=0.75, opening=0.35)
REST, WAY = 20, 8  # rows between moves, and of a move


def recorded(episodes: int = 40, moves: int = 8, *, seed: int = 0) -> EpisodeStore:
    """A hand that always trembles, a switch at 0 or 1, and a door that is slid while the switch is at 1."""
    rng = np.random.default_rng(seed)
    rows, lengths = [], []
    for _ in range(episodes):
        switch, door, begun = float(rng.integers(2)), rng.uniform(0, 5), len(rows)
        for _ in range(moves):
            after = (switch, rng.uniform(0, 5)) if switch == 1 and rng.random() < 0.6 else (1 - switch, door)
            for share in np.r_[np.linspace(0, 1, WAY), np.ones(REST)]:
                rows.append([rng.random(), switch + share * (after[0] - switch), door + share * (after[1] - door)])
            switch, door = after
        lengths.append(len(rows) - begun)
    observations = np.array(rows, np.float32)
    return EpisodeStore.from_arrays(observations, np.zeros((len(rows), 1), np.float32), lengths=lengths)


@pytest.fixture(scope="module")
def store() -> EpisodeStore:
    return recorded()


@pytest.fixture(scope="module")
def model(store) -> MoveModel:
    torch.manual_seed(0)
    model = MoveModel(MoveModelConfig(3, ((1,), (2,)), width=64), WINDOWS)
    train(model, store, config=TrainConfig(steps=500, batch=256, compile=False, precision="float32", rate=2e-3))
    model.set_threshold(store)
    return model.eval().requires_grad_(False)


def test_moves_lead_from_where_one_settled_to_where_the_next_does(model, store):
    rows = model.sampler(store).rows
    before, after = store.observations[rows[:, 0], 1:], store.observations[rows[:, 1], 1:]
    assert len(rows) > 0.8 * len(store) * 7
    assert (store.episode_of(rows[:, 0]) == store.episode_of(rows[:, 1])).all() and (rows[:, 0] < rows[:, 1]).all()
    assert ((np.abs(after - before) > 0.1).sum(axis=1) == 1).mean() > 0.9


def test_a_door_moves_while_it_is_not_locked(model):
    door = torch.linspace(0.2, 4.8, 20)
    opened, locked = (torch.stack([torch.zeros(20), torch.full((20,), at), door], dim=1) for at in (1.0, 0.0))
    onward = door.roll(7)
    for scenes, possible in ((opened, True), (locked, False)):
        moved = scenes.clone()
        moved[:, 2] = onward
        assert ((model(scenes, moved) > 0).float().mean() > 0.9) == possible
        switched = scenes.clone()
        switched[:, 1] = 1 - scenes[:, 1]
        assert (model(scenes, switched) > 0).float().mean() > 0.9


def test_what_only_the_body_does_decides_nothing(model):
    one, other = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[9.0, 1.0, 4.0]])
    assert torch.equal(model(one, other), model(one + torch.tensor([[5.0, 0, 0]]), other))


def test_moves_among_scenes_are_judged_as_pairs_of_them_are(tiny_config):
    objects = ((1, 2), (3, 4), (5,))
    torch.manual_seed(0)
    model = MoveModel(MoveModelConfig(6, objects), tiny_config.windows)
    model.normaliser.mean.copy_(torch.randn(6))
    model.normaliser.std.copy_(torch.rand(6) + 0.5)
    model.free[4] = 0.0
    model.threshold.fill_(0.7)
    scenes, source, target = torch.randn(9, 6), torch.randint(9, (40,)), torch.randint(9, (40,))
    torch.testing.assert_close(model.among(scenes, source, target), model(scenes[source], scenes[target]))


def test_the_threshold_is_a_share_of_the_recorded_moves(model, store):
    rows = model.sampler(store).rows
    odds = model(*(torch.from_numpy(store.observations[part]) for part in rows.T))
    assert (odds < 0).float().mean().item() == pytest.approx(0.05, abs=0.01)


def test_a_checkpoint_keeps_it(model, tiny_config, tmp_path):
    pad = PaD(replace(tiny_config, moves=model.config, windows=tiny_config.windows))
    pad.moves.load_state_dict(model.state_dict())
    loaded, _ = load_checkpoint(save_checkpoint(tmp_path, pad, Provenance()))
    one, other = torch.randn(2, 6, 3)
    torch.testing.assert_close(loaded.moves(one, other), model(one, other))
    assert torch.equal(loaded.moves.places, model.places)


def test_what_makes_no_sense_is_refused(tiny_config):
    with pytest.raises(ThalwegError, match=r"objects must be two or more, got \(\(1,\),\)"):
        MoveModelConfig(3, ((1,),))
    with pytest.raises(ThalwegError, match=r"alarm must be a share between 0 and 1, got 0"):
        MoveModelConfig(3, ((1,), (2,)), alarm=0)
    with pytest.raises(ThalwegError, match=r"moves\.observation is 4, but encoder\.observation is 3"):
        PaD(replace(tiny_config, moves=MoveModelConfig(4, ((1,), (2,)))))
    still = EpisodeStore.from_arrays(np.random.default_rng(0).random((80, 3)), np.zeros((80, 1)), lengths=[80])
    with pytest.raises(ThalwegError, match="no object is ever put somewhere"):
        MoveModel(MoveModelConfig(3, ((1,), (2,))), WINDOWS).sampler(still)


def test_what_is_carried_along_does_not_count_as_foretold():
    """A box is put anywhere, or shifted a little by the tray that it lies on; its own moves forget where it was."""
    rng = np.random.default_rng(0)
    rows, lengths = [], []
    for _ in range(60):
        box, tray, begun = rng.uniform(0, 5), 0.0, len(rows)
        for _ in range(8):
            carried = rng.random() < 0.7
            after = (box + 0.5 * (1 - 2 * tray), 1 - tray) if carried else (rng.uniform(0, 5), tray)
            for share in np.r_[np.linspace(0, 1, WAY), np.ones(REST)]:
                rows.append([rng.random(), box + share * (after[0] - box), tray + share * (after[1] - tray)])
            box, tray = after
        lengths.append(len(rows) - begun)
    observations = np.array(rows, np.float32)
    store = EpisodeStore.from_arrays(observations, np.zeros((len(rows), 1), np.float32), lengths=lengths)
    windows = WindowSampler(store, WINDOWS)
    assert windows.scene.objects == ((1,), (2,))
    assert windows.foretold[1] < 0.1
