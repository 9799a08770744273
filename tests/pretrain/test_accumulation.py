"""A batch in parts gives the gradient of the whole batch, also of losses of the batch as a whole."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.pretrain.parallel_workers import BATCH, ToyLearner, crops, train
from torch import nn

from orthoray.pretrain.accumulation import accumulate, batch_term, joint_gradients, parts_of_batch, put_together, take
from orthoray.pretrain.losses.koleo import koleo_loss


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@given(images=st.integers(1, 40), count=st.integers(1, 50), views=st.integers(1, 4))
def test_parts_cover_the_batch_once_evenly_and_in_order(images, count, views):
    parts = parts_of_batch(images, count)
    assert [index for part in parts for index in range(images)[part]] == list(range(images))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == min(images, count)
    assert max(sizes) - min(sizes) <= 1
    values = torch.arange(views * images * 2).reshape(views * images, 2)
    pieces = [take(values, views, part) for part in parts]
    assert torch.equal(put_together(pieces, views), values)
    for part, piece in zip(parts, pieces, strict=True):
        assert torch.equal(piece.reshape(views, -1, 2), values.reshape(views, images, 2)[:, part])


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("options", [{}, {"centring": "sinkhorn_knopp", "koleo": 0.1}], ids=["dino", "sinkhorn, koleo"])
def test_steps_in_parts_are_steps_with_the_whole_batch(options, count):
    whole, parts = ToyLearner(**options), ToyLearner(parallel={"accumulate": count}, **options)
    expected, found = train(whole, range(6)), train(parts, range(6))
    for (loss, norms), (loss_found, norms_found) in zip(expected, found, strict=True):
        assert loss_found == pytest.approx(loss, rel=1e-5)
        assert norms_found == pytest.approx(norms, rel=1e-3)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], value, atol=1e-5, rtol=0.0)
    for name, value in whole.teacher.state_dict().items():
        torch.testing.assert_close(parts.teacher.state_dict()[name], value, atol=1e-5, rtol=0.0)


def test_without_the_joint_gradient_neighbours_are_those_of_the_part():
    """The fault that `joint_gradients` is for: KoLeo part by part is another loss."""
    tokens = nn.functional.normalize(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    parts = parts_of_batch(8, 4)
    by_part = sum(koleo_loss(tokens[part]) / 4 for part in parts)
    assert abs(float(by_part) - float(koleo_loss(tokens))) > 0.1


def test_joint_gradients_are_those_of_the_whole_graph_with_the_same_random_numbers():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.GELU(), nn.Linear(16, 5))
    values, parts = torch.randn(2 * BATCH, 6), parts_of_batch(BATCH, 3)

    def of_whole(tokens):
        return torch.stack([koleo_loss(view) for view in tokens.chunk(2)]).mean()

    torch.manual_seed(11)
    value, gradients = joint_gradients(parts, 2, lambda part: net(take(values, 2, part)), of_whole)
    seen = []

    def loss(part):
        tokens = net(take(values, 2, part))
        seen.append(tokens)
        return batch_term(tokens, gradients[parts.index(part)], part, parts), tokens.new_zeros(())

    accumulate(net, parts, loss)
    found = [parameter.grad.clone() for parameter in net.parameters()]

    net.zero_grad()
    torch.manual_seed(11)
    again = []
    accumulate(
        net, parts, lambda part: (again.append(net(take(values, 2, part))) or again[-1].sum() * 0, torch.zeros(()))
    )
    for mine, theirs in zip(seen, again, strict=True):
        assert torch.equal(mine, theirs)  # dropout drew the same, pass after pass
    assert float(of_whole(put_together([token.detach() for token in seen], 2))) == pytest.approx(float(value))

    net.zero_grad()
    torch.manual_seed(11)
    masks = [token.detach() for token in seen]
    assert not torch.equal(masks[0], net(take(values, 2, parts[0])))  # another seed, other draws
    net.zero_grad()
    whole = [net_with_seed(net, values, parts, index) for index in range(len(parts))]
    of_whole(put_together(whole, 2)).backward()
    for mine, parameter in zip(found, net.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, atol=1e-6, rtol=1e-5)


def net_with_seed(net, values, parts, index):
    """A part's forward pass with the draws of `accumulate` after seed 11."""
    torch.manual_seed((11 + 0x9E3779B97F4A7C15 * (index + 1)) % 2**63)
    return net(take(values, 2, parts[index]))


def test_parts_draw_different_numbers_and_one_part_draws_as_ever():
    draws = []
    weight = nn.Parameter(torch.ones(()))
    net = nn.Identity()
    for count in (1, 3):
        torch.manual_seed(5)
        expected = torch.rand(2)
        torch.manual_seed(5)
        found = []
        accumulate(
            net, parts_of_batch(3, count), lambda part, f=found: (f.append(torch.rand(2)) or weight * 1.0, weight)
        )
        draws.append(found)
        assert torch.initial_seed() == 5
    assert torch.equal(draws[0][0], expected)
    assert len({tuple(draw.tolist()) for draw in draws[1]}) == 3


def test_reported_values_are_means_over_the_batch():
    weight = nn.Parameter(torch.ones(()))
    images = torch.tensor([1.0, 2.0, 6.0, 7.0, 9.0])
    parts = parts_of_batch(5, 2)
    assert [part.stop - part.start for part in parts] == [2, 3]
    row = accumulate(
        nn.Identity(),
        parts,
        lambda part: (weight * images[part].mean(), torch.stack([images[part].mean(), weight * 2])),
    )
    torch.testing.assert_close(row, torch.tensor([5.0, 2.0]))
    torch.testing.assert_close(weight.grad, torch.tensor(5.0))
    assert not row.requires_grad


def test_the_shapes_of_crops_are_those_of_a_worker():
    views, details = crops(0, rank=1, world=2)
    assert (views.shape, details.shape) == ((BATCH, 1, 32, 32), (BATCH, 1, 16, 16))
