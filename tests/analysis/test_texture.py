import torch

from invariances.analysis import with_texture_of


def test_the_phases_are_of_one_image_and_the_amplitudes_of_the_other():
    shape, texture = torch.rand(2, 3, 9, 8) / 4, torch.rand(2, 3, 9, 8) / 4
    mixed = torch.fft.rfft2(with_texture_of(shape, texture))
    assert torch.allclose(mixed.abs(), torch.fft.rfft2(texture).abs(), atol=1e-4)
    large = mixed.abs() > 0.05
    turned = (mixed.angle() - torch.fft.rfft2(shape).angle())[large]
    assert torch.allclose(turned.cos(), torch.ones_like(turned), atol=1e-3)


def test_a_moved_shape_moves_the_result():
    shape, texture = torch.rand(1, 1, 8, 8) / 4, torch.rand(1, 1, 8, 8) / 4
    moved = with_texture_of(shape.roll(3, dims=3), texture)
    assert torch.allclose(moved, with_texture_of(shape, texture).roll(3, dims=3), atol=1e-5)
