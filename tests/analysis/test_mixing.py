import pytest
import torch

from invariances.analysis import invariances_of, mix, transfer
from invariances.errors import InvalidInput
from tests.analysis.known_world import NETWORKS, pixel

A, B = pixel(0.1, 0.2, 0.3), pixel(-0.5, 0.0, 0.5)


def test_v_is_what_the_layer_does_not_hold():
    v = invariances_of(*NETWORKS, torch.cat([A, B])).flatten(1)
    assert torch.allclose(v, torch.tensor([[0, 0.1, 0.2], [0, 0.5, 1]]))


def test_rows_share_z_and_columns_share_v():
    mixed = mix(*NETWORKS, torch.cat([A, B]), torch.cat([A, B, pixel(0.0, 0.9, 0.9)]))
    assert mixed.shape == (3, 2, 3, 1, 1)
    assert torch.allclose(mixed[0, 0], A[0]) and torch.allclose(mixed[1, 1], B[0])
    assert torch.allclose(mixed[1, 0], pixel(-0.5, -0.4, -0.3)[0])
    assert torch.allclose(mixed[2, 1], pixel(0.0, 0.5, 1.0)[0])


def test_a_clip_takes_the_still_s_representation_frame_by_frame():
    frames = torch.randn(5, 3, 1, 1)
    batches = list(transfer(*NETWORKS, A, frames, batch_size=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert torch.allclose(torch.cat(batches), frames - frames[:, :1] + 0.1)


def test_a_batch_has_at_least_one_frame():
    with pytest.raises(InvalidInput, match="batch_size is 0"):
        list(transfer(*NETWORKS, A, torch.cat([A, B]), batch_size=0))
