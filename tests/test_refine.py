"""The descent engine: gradients against finite differences, compiled against eager, and its invariants."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from thalweg.pad.model import PaDModel, PaDModelConfig
from thalweg.refine import refine, refine_step
from thalweg.types import Context

TOKENS, LATENT, BATCH, RELATIONS = 4, 3, 5, 2


def landscape(*, dtype: torch.dtype = torch.float64, context_depth: int = 1, **changes) -> PaDModel:
    """A small model with no weight at its silent start."""
    torch.manual_seed(0)
    config = PaDModelConfig(
        latent=LATENT, offsets=(1, 2, 4, 8), horizon=16, context_width=16, context_depth=context_depth, width=16,
        rank=8, projector=8, **changes,
    )  # fmt: skip
    model = PaDModel(config, relations=RELATIONS).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 0:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    return model


def request(model: PaDModel, batch: int = BATCH, seed: int = 1) -> tuple[torch.Tensor, Context]:
    generator = torch.Generator().manual_seed(seed)
    dtype = model.step_size.dtype

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    reach = torch.randint(1, 17, (batch,), generator=generator).to(dtype)
    past = model.config.past
    past, relations = draw(batch, past, LATENT), draw(batch, RELATIONS)
    context = Context(past, torch.full((batch,), past.shape[1]), draw(batch, LATENT), reach, relations)
    return draw(batch, TOKENS, LATENT), context


def rows(context: Context, change: Callable[[torch.Tensor], torch.Tensor]) -> Context:
    return Context(**{name: change(value) for name, value in vars(context).items()})


@pytest.mark.parametrize("context_depth", [0, 1])
def test_step_descends_the_energy_as_finite_differences_do(context_depth):
    model = landscape(context_depth=context_depth)
    plan, context = request(model)
    condition = model.condition(context)
    moved, energy = refine_step(model, plan, condition)
    difference = torch.zeros_like(plan)
    h = 1e-6
    for token in range(TOKENS):
        for value in range(LATENT):
            shift = torch.zeros_like(plan)
            shift[:, token, value] = h
            rise = model.energy(plan + shift, condition) - model.energy(plan - shift, condition)
            difference[:, token, value] = rise / (2 * h)
    expected = model.project(plan - model.step_size * difference)
    torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(energy, model.energy(plan, condition))


def test_training_gradient_is_second_order():
    """The loss's gradient in a weight, through the energy's gradient, against finite differences."""
    model = landscape()
    plan, context = request(model)
    target = torch.ones_like(plan)

    def loss() -> torch.Tensor:
        return (refine_step(model, plan, model.condition(context))[0] - target).square().mean()

    for name in ("enter.weight", "leave.weight", "value.weight", "context.0.expand.weight"):
        weight = model.get_parameter(name)
        model.zero_grad()
        loss().backward()
        with torch.no_grad():
            kept = weight[0, 0].clone()
            weight[0, 0] = kept + 1e-5
            high = loss()
            weight[0, 0] = kept - 1e-5
            low = loss()
            weight[0, 0] = kept
        assert weight.grad[0, 0].item() == pytest.approx(((high - low) / 2e-5).item(), rel=1e-4, abs=1e-9)


def test_compiled_equals_eager_equals_float64():
    model = landscape(dtype=torch.float32)
    exact = copy.deepcopy(model).double()
    plan, context = request(model)
    eager, _ = refine_step(model, plan, model.condition(context))
    compiled, _ = torch.compile(refine_step, fullgraph=True)(model, plan, model.condition(context))
    torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-5)
    wide = rows(context, torch.Tensor.double)
    reference, _ = refine_step(exact, plan.double(), exact.condition(wide))
    torch.testing.assert_close(eager.double(), reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_step_of_planning_is_the_step_of_training(mode):
    model = landscape()
    plan, context = request(model)
    wanted, wanted_energy = refine_step(model, plan, model.condition(context))
    with mode():
        found, energy = refine_step(model, plan.clone(), model.condition(context))
    assert not found.requires_grad and not energy.requires_grad
    torch.testing.assert_close(found, wanted.detach())
    torch.testing.assert_close(energy, wanted_energy.detach())


def test_a_row_does_not_depend_on_its_company():
    model = landscape()
    plan, context = request(model)
    together = refine(model, plan, model.condition(context), steps=3)
    for row in range(BATCH):
        part = slice(row, row + 1)
        alone = rows(context, lambda value, part=part: value[part])
        single = refine(model, plan[part], model.condition(alone), steps=3)
        torch.testing.assert_close(single.plan, together.plan[part])
        torch.testing.assert_close(single.energy, together.energy[part])


def test_permuting_candidates_permutes_the_outcome():
    model = landscape()
    plan, context = request(model)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    shuffled = rows(context, lambda value: value[order])
    straight = refine(model, plan, model.condition(context), steps=2)
    mixed = refine(model, plan[order], model.condition(shuffled), steps=2)
    torch.testing.assert_close(mixed.plan, straight.plan[order])
    torch.testing.assert_close(mixed.energy, straight.energy[order])


def test_zero_steps_is_the_identity():
    model = landscape()
    plan, context = request(model)
    refined = refine(model, plan, model.condition(context), steps=0, trace=True)
    assert torch.equal(refined.plan, plan)
    assert len(refined.energies) == len(refined.corrections) == 1


def test_the_final_iterate_is_scored():
    model = landscape()
    plan, context = request(model)
    condition = model.condition(context)
    refined = refine(model, plan, condition, steps=3, trace=True)
    torch.testing.assert_close(refined.energy, model.energy(refined.plan, condition))
    torch.testing.assert_close(refined.energies[0], model.energy(plan, condition))
    assert len(refined.energies) == 4
    assert not torch.allclose(refined.energies[-1], refined.energies[-2])
    further, _ = refine_step(model, refined.plan, condition)
    torch.testing.assert_close(refined.correction, 0.5 * (further - refined.plan).square().sum(dim=(1, 2)))
    earlier = refine(model, plan, condition, steps=2)
    torch.testing.assert_close(earlier.correction, 0.5 * (refined.plan - earlier.plan).square().sum(dim=(1, 2)))


def test_hidden_past_does_not_matter_and_visible_past_does():
    model = landscape(past=3)
    plan, context = request(model)
    length = torch.full((BATCH,), 2)
    oldest, middle = context.past.clone(), context.past.clone()
    oldest[:, 0] += 1.0
    middle[:, 1] += 1.0

    def energy(past: torch.Tensor) -> torch.Tensor:
        return model.energy(plan, model.condition(replace(context, past=past, past_length=length)))

    torch.testing.assert_close(energy(oldest), energy(context.past))
    assert not torch.allclose(energy(middle), energy(context.past))


def test_displacement_coordinates_round_trip():
    model = landscape()
    model.scale.uniform_(0.5, 2.0)
    plan, context = request(model)
    latents = model.to_latents(plan, context.present)
    torch.testing.assert_close(model.to_plan(latents, context.present), plan)
    torch.testing.assert_close(latents[:, 0], context.present + plan[:, 0] * model.scale[0])
