"""Optimizers: parameter groups, and equality with torch's own on plain problems."""

import pytest
import torch
from torch import nn

from imclass.config.schema import OptimizerConfig
from imclass.errors import UserError
from imclass.training.muon import Muon, orthogonalize
from imclass.training.optimizers import OPTIMIZERS, build_optimizer

SETTINGS = {
    "sgd": {"momentum": 0.9, "nesterov": True},
    "adam": {"betas": [0.9, 0.99], "eps": 1e-7},
    "adamw": {"betas": [0.9, 0.99], "eps": 1e-7},
    "rmsprop": {"momentum": 0.5, "eps": 1e-8, "alpha": 0.9},
    "muon": {"momentum": 0.9, "nesterov": True, "adamw_lr": 1e-3},
}


def network() -> nn.Module:
    """A net without a bias before its norm: that bias has only rounding noise for a gradient."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.Flatten(),
        nn.Linear(8 * 16, 4),
    )


def config(name: str, **more: object) -> OptimizerConfig:
    return OptimizerConfig(**{"name": name, "lr": 0.01, "weight_decay": 0.1, **SETTINGS[name], **more})


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        images = torch.randn(8, 3, 8, 8, generator=generator)
        loss = nn.functional.cross_entropy(model(images), torch.arange(8) % 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def test_every_optimizer_is_tested_here() -> None:
    assert set(OPTIMIZERS) == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_norms_and_biases_do_not_decay_unless_asked(name: str) -> None:
    model = network()
    optimizer = build_optimizer(config(name), model)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decay) == len(list(model.parameters()))
    for parameter in model.parameters():
        assert decay[id(parameter)] == (0.1 if parameter.ndim > 1 else 0.0)
    asked = build_optimizer(config(name, decay_norm_and_bias=True), network())
    assert {g["weight_decay"] for g in asked.param_groups} == {0.1}


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("sgd", lambda g: torch.optim.SGD(g, lr=0.01, momentum=0.9, nesterov=True)),
        ("adam", lambda g: torch.optim.Adam(g, lr=0.01, betas=(0.9, 0.99), eps=1e-7)),
        ("adamw", lambda g: torch.optim.AdamW(g, lr=0.01, betas=(0.9, 0.99), eps=1e-7)),
        ("rmsprop", lambda g: torch.optim.RMSprop(g, lr=0.01, alpha=0.9, eps=1e-8, momentum=0.5)),
    ],
)
def test_same_weights_as_torch_after_five_steps(name: str, reference) -> None:
    ours, theirs = network(), network()
    many = [p for p in theirs.parameters() if p.ndim > 1]
    few = [p for p in theirs.parameters() if p.ndim <= 1]
    groups = [{"params": many, "weight_decay": 0.1}, {"params": few, "weight_decay": 0.0}]
    expected = train(theirs, reference(groups))
    for got, want in zip(train(ours, build_optimizer(config(name), ours)), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_muon_equals_torch_on_a_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(6, 4, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    group = {"params": [ours], "weight_decay": 0.1, "muon": True}
    mine = Muon([group], lr=0.02, momentum=0.9, nesterov=True, betas=(0.9, 0.95))
    reference = torch.optim.Muon([theirs], lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.1)
    for _ in range(5):
        ours.grad = torch.randn(6, 4, generator=generator)
        theirs.grad = ours.grad.clone()
        mine.step()
        reference.step()
    # torch iterates in bfloat16, we in the weights' own precision
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


def test_muon_trains_the_rest_with_adamw() -> None:
    model = network()
    optimizer = build_optimizer(config("muon"), model)
    by_muon = {id(p) for g in optimizer.param_groups if g["muon"] for p in g["params"]}
    assert by_muon == {id(model[3].weight)}  # the only weight that is neither first nor last
    bias = network()[5].bias
    reference = torch.optim.AdamW(
        [nn.Parameter(bias.detach().clone())], lr=1e-3, betas=(0.9, 0.95), weight_decay=0
    )
    expected = reference.param_groups[0]["params"][0]
    for step in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.1 * (step + 1))
        expected.grad = torch.full_like(expected, 0.1 * (step + 1))
        optimizer.step()
        reference.step()
    torch.testing.assert_close(model[5].bias, expected)


class Attention(nn.Module):
    """A small transformer: its position embedding, scale and table of biases map no features."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 16, 8))
        self.patches = nn.Conv2d(3, 8, 4)
        self.attention = nn.MultiheadAttention(8, 2)
        self.scale = nn.Parameter(torch.full((8, 1, 1), 1e-6))
        self.table = nn.Embedding(9, 2)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)


def test_muon_takes_maps_between_features_only() -> None:
    model = Attention()
    optimizer = build_optimizer(config("muon"), model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    by_muon = {names[id(p)] for g in optimizer.param_groups if g["muon"] for p in g["params"]}
    assert by_muon == {"attention.in_proj_weight", "attention.out_proj.weight", "hidden.weight"}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(names)


def test_muon_steps_a_weight_that_layers_share_once() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5)))
    model[2].weight = model[1].weight
    model[3].weight = model[4].weight  # the last layer's
    optimizer = build_optimizer(config("muon"), model)
    by_muon = [id(p) for g in optimizer.param_groups if g["muon"] for p in g["params"]]
    assert by_muon == [id(model[1].weight)]
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))


def test_muon_refuses_a_model_without_hidden_weights() -> None:
    frozen = network()
    frozen[3].requires_grad_(False)
    for model in frozen, nn.Sequential(nn.Flatten(), nn.Linear(12, 4)):
        with pytest.raises(UserError, match="optimizer=muon: the model has no weights to train between"):
            build_optimizer(config("muon"), model)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (64, 27)])
def test_orthogonalize_pushes_singular_values_to_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_muon_moves_a_weight_of_zeros_that_it_normalizes() -> None:
    weight = nn.Parameter(torch.zeros(4, 6))
    weight.grad = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    Muon([{"params": [weight], "muon": True}], 0.1, 0.9, True, (0.9, 0.99), normalize=True).step()
    assert weight.isfinite().all() and 0.1 < weight.norm().item() < 0.3  # four singular values of about 0.1


def test_muon_steps_weights_of_one_shape_as_it_would_each_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (6, 4), (8, 2, 3, 3), (6, 4), (8, 2, 3, 3), (3, 3)
    start = [torch.randn(*shape, generator=generator) for shape in shapes]
    grads = [torch.randn(*shape, generator=generator) for shape in shapes]

    def stepped(numbers: list[int]) -> list[nn.Parameter]:
        weights = [nn.Parameter(start[i].clone()) for i in numbers]
        for weight, i in zip(weights, numbers, strict=True):
            weight.grad = grads[i].clone()
        groups = [{"params": weights, "muon": True}]
        Muon(groups, lr=0.1, momentum=0.6, nesterov=True, betas=(0.9, 0.95), normalize=True).step()
        return weights

    for i, together in enumerate(stepped(list(range(len(shapes))))):
        torch.testing.assert_close(together, stepped([i])[0])


def test_normalised_weights_start_each_step_at_one_norm() -> None:
    """With a gradient of zero the step is zero, so that the norm is seen as it was set."""
    model = network()
    optimizer = build_optimizer(config("muon", normalize_weights=True), model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert float(model[3].weight.detach().norm()) == pytest.approx(8**0.5)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    whole, first = network(), network()
    expected = train(whole, build_optimizer(config(name), whole), 5)
    optimizer = build_optimizer(config(name), first)
    generator = torch.Generator().manual_seed(1)

    def step(model: nn.Module, used: torch.optim.Optimizer) -> None:
        images = torch.randn(8, 3, 8, 8, generator=generator)
        loss = nn.functional.cross_entropy(model(images), torch.arange(8) % 4)
        used.zero_grad()
        loss.backward()
        used.step()

    for _ in range(2):
        step(first, optimizer)
    second = network()
    second.load_state_dict(first.state_dict())
    restored = build_optimizer(config(name), second)
    restored.load_state_dict(optimizer.state_dict())
    for _ in range(3):
        step(second, restored)
    for got, want in zip(second.parameters(), expected, strict=True):
        assert torch.equal(got, want)


def test_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="'sgd'"):
        build_optimizer(OptimizerConfig(name="sdg"), network())


def test_a_plugin_adds_an_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "mine", "package:build"

        def load(self):
            return lambda config, model: torch.optim.SGD(model.parameters(), lr=config.lr)

    points = {"imclass.optimizers": [Point()]}
    monkeypatch.setattr("imclass.config.groups.entry_points", lambda group: points[group])
    optimizer = build_optimizer(OptimizerConfig(name="mine", lr=0.3), network())
    assert optimizer.param_groups[0]["initial_lr"] == 0.3


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_decay_of_the_head_is_an_l2_penalty_on_its_weights_alone(name: str) -> None:
    """A decay of 2 * 0.01 gives the steps that adding 0.01 * sum of squares to the loss gives (Keras' l2)."""
    settings = {"weight_decay": 0.0, "nesterov": False} if name == "sgd" else {"weight_decay": 0.0}
    ours, reference = network(), network()
    reference.load_state_dict(ours.state_dict())
    decayed = build_optimizer(config(name, head_weight_decay=0.02, **settings), ours)
    plain = build_optimizer(config(name, **settings), reference)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        images, labels = torch.randn(8, 3, 8, 8, generator=generator), torch.arange(8) % 4
        penalty = 0.01 * reference[-1].weight.square().sum()
        for model, optimizer, extra in ((ours, decayed, 0.0), (reference, plain, penalty)):
            optimizer.zero_grad()
            (nn.functional.cross_entropy(model(images), labels) + extra).backward()
            optimizer.step()
    for mine, theirs in zip(ours.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_decay_of_the_head_under_muon_takes_no_parameter_twice() -> None:
    model = network()
    optimizer = build_optimizer(config("muon", head_weight_decay=0.5), model)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))
    assert decay[id(model[-1].weight)] == 0.5
    assert decay[id(model[3].weight)] == 0.1
