"""What parameters are, told apart where their shapes deceive."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dlrun.model.order import residual_ends
from dlrun.model.roles import decaying, everything, matrices, roles, value, weights
from dlrun.regularization.weight_norm import WeightNorm


class Tokens(nn.Module):
    """Parameters of a user's own module, outside of any layer."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {
            "mix": (6, 4),
            "kernels": (2, 3, 5),
            "class_token": (1, 1, 4),
            "places": (1, 9, 4),
            "layer_scale": (6, 1, 1),
            "relative_position_bias_table": (25, 2),
            "gain": (6,),
            "scalar": (),
        }
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))


def every_kind() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "linear": nn.Linear(3, 1),
            "convolution": nn.Conv2d(2, 4, 3),
            "transposed": nn.ConvTranspose2d(4, 2, 3),
            "bilinear": nn.Bilinear(2, 3, 1),
            "attention": nn.MultiheadAttention(4, 2, add_bias_kv=True),
            "recurrent": nn.LSTM(3, 4, proj_size=2),
            "cell": nn.GRUCell(3, 4),
            "table": nn.Embedding(7, 4),
            "batch_norm": nn.BatchNorm2d(4),
            "layer_norm": nn.LayerNorm([4, 5, 5]),
            "group_norm": nn.GroupNorm(2, 4),
            "rms_norm": nn.RMSNorm([4, 5]),
            "prelu": nn.PReLU(4),
            "tokens": Tokens(),
        }
    )


def names(model: nn.Module, chosen: list[nn.Parameter]) -> set[str]:
    known = {id(p): name for name, p in model.named_parameters()}
    return {known[id(p)] for p in chosen}


MATRICES = {
    *("linear.weight", "convolution.weight", "transposed.weight", "bilinear.weight"),
    *("attention.in_proj_weight", "attention.out_proj.weight"),
    *("recurrent.weight_ih_l0", "recurrent.weight_hh_l0", "recurrent.weight_hr_l0"),
    *("cell.weight_ih", "cell.weight_hh", "tokens.mix", "tokens.kernels"),
}


def test_weights_are_told_from_biases_gains_slopes_and_places():
    model = every_kind()
    assert names(model, matrices(model)) == MATRICES
    assert names(model, decaying(model)) == MATRICES | {"table.weight"}
    used = weights(model)
    assert {id(w) for w in used.plain} == {id(p) for p in decaying(model)}
    assert used.made == []
    assert [id(p) for p in roles(model)] == [id(p) for p in model.parameters()]
    assert len(everything(model).plain) == len(list(model.parameters()))


def test_of_length_and_direction_one_is_a_matrix_and_the_other_shrinks():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 3))
    WeightNorm().change_model(model, torch.zeros(1))
    assert names(model, matrices(model)) == {
        f"{i}.parametrizations.weight.original1" for i in (0, 2)
    }
    assert names(model, decaying(model)) == {
        f"{i}.parametrizations.weight.original0" for i in (0, 2)
    }
    assert [id(one) for one in weights(model).made] == [
        id(model[i].parametrizations.weight) for i in (0, 2)
    ]


def test_the_older_weight_norm_of_torch():
    with pytest.warns(FutureWarning, match="weight_norm"):
        model = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 2)))
    assert names(model, matrices(model)) == {"0.weight_v"}
    assert names(model, decaying(model)) == {"0.weight_g"}


def test_other_reparametrizations_are_seen_through():
    model = nn.Sequential(
        parametrizations.orthogonal(nn.Linear(3, 3)),
        parametrizations.spectral_norm(nn.Linear(3, 2)),
    )
    originals = {f"{i}.parametrizations.weight.original" for i in (0, 1)}
    assert names(model, matrices(model)) == names(model, decaying(model)) == originals


def test_looking_at_a_weight_moves_nothing():
    layer = parametrizations.spectral_norm(nn.Linear(5, 4)).train()
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    value(layer.parametrizations.weight)
    for name, buffer in layer.named_buffers():
        assert torch.equal(buffer, before[name])
    assert all(module.training for module in layer.modules())


def test_frozen_ones_are_left_out_and_shared_ones_stand_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, 4))
            self.first, self.second = nn.Linear(4, 1, bias=False), nn.Linear(4, 4)
            self.first.weight = self.scale  # what alone would be a gain
            self.second.weight.requires_grad_(False)

    model = Tied()
    assert names(model, matrices(model)) == {"scale"}
    assert len(weights(model).plain) == 1


def test_a_branch_ends_in_its_last_layer_even_where_that_is_reparametrized():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.residual = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3), nn.PReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self.residual(x)

    model = Block()
    for change in (lambda: model, lambda: WeightNorm().change_model(model, torch.zeros(1))):
        change()
        assert residual_ends(model) == [model.residual[1]]
