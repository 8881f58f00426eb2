"""Where the channels are, and which tokens are patches."""

import torch
from torch import nn

from invariances.models.studied.channel_order import layout_of
from invariances.models.studied.layout import ChannelsLast, Map, Tokens, Vector
from invariances.models.studied.tracing import trace


class Permute(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1)


class Grid(nn.Module):
    """Patches with a class token and two registers."""

    def forward(self, x):
        patches = x.flatten(2).transpose(1, 2)
        return torch.cat([patches[:, :3], patches], dim=1)


def layouts(*parts, size=(4, 4), channels=4):
    traced = trace(nn.Sequential(*parts), torch.rand(2, channels, *size))
    return [layout_of(i, traced.calls, has_class=True) for i in range(len(parts))]


def test_modules_around_tell_the_order_even_of_a_cube():
    assert layouts(nn.Conv2d(4, 4, 1), nn.ReLU(), Permute(), nn.Dropout(), nn.LayerNorm(4)) == [
        Map(), Map(), Map(), Map(), ChannelsLast(),
    ]  # fmt: skip
    # one shape for all, so that the nearest before decides; with another width each is told by its neighbours
    found = layouts(nn.Conv2d(4, 5, 1), nn.ReLU(), Permute(), nn.Dropout(), nn.Linear(5, 6), nn.GELU())
    assert [type(layout) for layout in found] == [Map, Map, ChannelsLast, ChannelsLast, ChannelsLast, ChannelsLast]


def test_without_neighbours_a_square_decides():
    assert [type(layout) for layout in layouts(nn.Identity(), Permute(), channels=3)] == [Map, ChannelsLast]


def test_tokens_beyond_the_grid_come_first():
    conv, tokens, norm = layouts(nn.Conv2d(3, 5, 2, stride=2), Grid(), nn.LayerNorm(5), size=(8, 4), channels=3)
    assert (type(conv), tokens, norm) == (Map, Tokens("all", 3, (4, 2)), Tokens("all", 3, (4, 2)))


def test_three_dimensions_are_tokens_only_if_something_acts_on_the_last():
    found = layouts(nn.Flatten(2), nn.Conv1d(4, 4, 1), nn.Flatten(), nn.Linear(64, 2))
    assert found == [None, None, Vector(), Vector()]


def test_what_is_written_is_what_was_read():
    output, other = torch.rand(2, 7, 5), torch.rand(1, 7, 5)
    for choice in Tokens(prefix=3, grid=(2, 2)).choices():
        z = choice.read(output)
        written = choice.write(z, other)
        assert written.shape == output.shape and torch.allclose(choice.read(written), z)
    assert [choice.tokens for choice in Tokens(prefix=3, grid=(2, 2)).choices()] == ["all", "cls", "patches", "mean"]
    assert [choice.tokens for choice in Tokens(prefix=3, has_class=False).choices()] == ["all", "mean"]
