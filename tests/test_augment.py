"""Laws of augmentation: what it leaves alone, what it moves, and that a key decides everything."""

import math

import pytest
import torch
from torch import Tensor

from rayology import transforms
from rayology.augment import NUM_UNIFORM, Augmentation, AugmentConfig
from rayology.config import validated
from rayology.data import PreparedDataset
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.training.worker import augmented

NAMES = sorted(NUM_UNIFORM)
PLACES = ["mirror", "flip", "rotate", "translate", "scale", "crop"]
SHADES = sorted(set(NAMES) - set(PLACES))
EVERYTHING = AugmentConfig(**dict.fromkeys(NAMES, 1.0))
SPACES = [(16, 24), (8, 16, 24)]


def drawn(config: AugmentConfig, count: int = 6, seed: int = 0, strength: float | Tensor = 1.0) -> Augmentation:
    return config.draw(count, generator=torch.Generator().manual_seed(seed), strength=strength)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


def blobs(count: int, *space: int) -> Tensor:
    """Return smooth images, so that interpolation between their pixels means something."""
    axes = torch.meshgrid(*(torch.linspace(0, 3, length) for length in space), indexing="ij")
    waves = [sum((axis * (1 + 0.3 * number)).sin() for axis in axes) for number in range(count)]
    return torch.stack([torch.as_tensor(wave) / len(space) for wave in waves])[:, None]


@pytest.mark.parametrize("space", SPACES, ids=["2-D", "3-D"])
def test_probability_zero_changes_no_bit(space: tuple[int, ...]) -> None:
    images, masks = noise(6, 2, *space), torch.randint(5, (6, *space))

    assert torch.equal(drawn(AugmentConfig()).images(images), images)
    assert torch.equal(drawn(EVERYTHING, strength=0.0).images(images), images)
    assert torch.equal(drawn(AugmentConfig()).masks(masks), masks)
    assert not AugmentConfig().is_on


@pytest.mark.parametrize("space", SPACES, ids=["2-D", "3-D"])
@pytest.mark.parametrize("name", NAMES)
def test_every_transform_does_something_to_the_samples_it_is_drawn_for_and_nothing_to_others(
    name: str, space: tuple[int, ...]
) -> None:
    images = noise(200, 1, *space)
    config = AugmentConfig(**{name: 0.5})

    changed = (drawn(config, 200).images(images) != images).flatten(1).any(dim=1)
    # The rows and the slices are flipped each for itself.
    expected = 1 - 0.5 ** (len(space) - 1 if name == "flip" else 1)

    assert config.is_on
    assert abs(changed.float().mean() - expected) < 4 * math.sqrt(0.25 / 200)


def test_strength_multiplies_every_probability() -> None:
    images = noise(400, 1, 16, 16)

    for strength in (0.25, torch.tensor(0.25)):
        changed = drawn(AugmentConfig(mirror=0.8), 400, strength=strength).images(images) != images
        assert abs(changed.flatten(1).any(dim=1).float().mean() - 0.2) < 0.08


@pytest.mark.parametrize("name", ["mirror", "flip"])
def test_flipping_twice_is_the_identity(name: str) -> None:
    images = noise(6, 1, 8, 16, 24)
    once = drawn(AugmentConfig(**{name: 1.0}))

    assert torch.equal(once.images(once.images(images)), images)


def test_mirror_exchanges_left_and_right_and_flip_what_else_there_is() -> None:
    images = noise(6, 1, 8, 16, 24)

    assert torch.equal(drawn(AugmentConfig(mirror=1)).images(images), images.flip(-1))
    assert torch.equal(drawn(AugmentConfig(flip=1)).images(images), images.flip(-2, -3))


@pytest.mark.parametrize("space", [(16, 16), (16, 16, 16)], ids=["2-D", "3-D"])
def test_four_quarter_turns_are_the_identity_and_one_is_exact(space: tuple[int, ...]) -> None:
    images = noise(2, 1, *space, dtype=torch.float64)
    angles = torch.full((2, 1), math.pi / 2, dtype=torch.float64)
    linear, shift = transforms.rotations(angles, len(space)), torch.zeros(2, len(space)).double()

    turned = [images]
    for _ in range(4):
        turned.append(transforms.warp(turned[-1], linear, shift))

    torch.testing.assert_close(turned[1], images.rot90(1, (-2, -1)), rtol=0, atol=1e-12)
    torch.testing.assert_close(turned[4], images, rtol=0, atol=1e-12)


@pytest.mark.parametrize("space", [(16, 24), (10, 16, 24)], ids=["2-D", "3-D"])
def test_a_whole_number_of_pixels_shifts_as_a_slice_does_and_air_comes_in(space: tuple[int, ...]) -> None:
    images = noise(2, 1, *space, dtype=torch.float64)
    linear = torch.eye(len(space)).double().expand(2, -1, -1)
    shift = torch.tensor([[3.0, -2.0, 0.0][: len(space)]] * 2).double()

    moved = transforms.warp(images, linear, shift)

    torch.testing.assert_close(moved[..., 2:, :-3], images[..., :-2, 3:], rtol=0, atol=1e-12)
    assert (moved[..., :2, :] + 1).abs().max() < 1e-12
    assert (moved[..., -3:] + 1).abs().max() < 1e-12


def test_a_rotation_keeps_lengths_in_an_image_that_is_no_square() -> None:
    disc = -torch.ones(1, 1, 32, 64)
    rows, columns = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(64) - 31.5, indexing="ij")
    disc[0, 0, rows**2 + columns**2 < 100] = 1.0

    turned = transforms.warp(disc, transforms.rotations(torch.tensor([[0.6]]), 2), torch.zeros(1, 2))

    assert ((turned - disc).abs() > 1).float().mean() < 0.01


@pytest.mark.parametrize("space", SPACES, ids=["2-D", "3-D"])
def test_where_places_move_values_stay_in_the_range(space: tuple[int, ...]) -> None:
    places = AugmentConfig(**dict.fromkeys(PLACES, 1.0))

    moved = drawn(places, 20).images(noise(20, 1, *space).sign())

    assert moved.min() >= -1 - 1e-6
    assert moved.max() <= 1 + 1e-6


@pytest.mark.parametrize("space", [(32, 48), (16, 32, 48)], ids=["2-D", "3-D"])
def test_masks_move_as_their_images_do(space: tuple[int, ...]) -> None:
    images = blobs(8, *space)
    masks = (images[:, 0] > 0).long() * 3
    moving = drawn(AugmentConfig(**dict.fromkeys(PLACES, 1.0)), 8)

    inside = moving.images(torch.ones_like(images))[:, 0] > 0.999
    images, masks = moving.images(images), moving.masks(masks)

    sure = inside & (images[:, 0].abs() > 0.2)  # a border lies between pixels
    assert masks.dtype == torch.int64
    assert set(masks.unique().tolist()) == {0, 3}
    assert sure.float().mean() > 0.3
    assert torch.equal((images[:, 0] > 0)[sure], (masks == 3)[sure])


@pytest.mark.parametrize("name", SHADES)
def test_transforms_of_the_intensity_leave_masks_alone(name: str) -> None:
    masks = torch.randint(5, (6, 16, 24))

    assert torch.equal(drawn(AugmentConfig(**{name: 1.0})).masks(masks), masks)


@pytest.mark.parametrize("space", SPACES, ids=["2-D", "3-D"])
def test_the_rows_of_a_process_are_those_of_the_whole_batch(space: tuple[int, ...]) -> None:
    images = noise(6, 1, *space, dtype=torch.float64)
    half = AugmentConfig(**dict.fromkeys(NAMES, 0.7))

    whole = drawn(half).images(images)
    parts = [drawn(half)[rows].images(images[rows]) for rows in (slice(0, 1), slice(1, 4), slice(4, 6))]

    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-9)


def test_the_key_decides() -> None:
    images = noise(6, 1, 16, 24)

    assert torch.equal(drawn(EVERYTHING, seed=3).images(images), drawn(EVERYTHING, seed=3).images(images))
    assert not torch.equal(drawn(EVERYTHING, seed=3).images(images), drawn(EVERYTHING, seed=4).images(images))


def test_turning_one_transform_on_does_not_change_what_another_draws() -> None:
    images = noise(6, 1, 16, 24)
    both = drawn(AugmentConfig(rotate=1, cutout=1)).images(images)
    alone = drawn(AugmentConfig(rotate=1)).images(images)

    kept = both != -1

    assert kept.float().mean() > 0.5
    assert torch.equal(both[kept], alone[kept])


@pytest.mark.parametrize("name", NAMES)
def test_a_volume_of_one_slice_becomes_what_its_image_becomes(name: str) -> None:
    images = noise(6, 1, 16, 24, dtype=torch.float64)
    config = AugmentConfig(**{name: 1.0})

    volumes = drawn(config).images(images[:, :, None])

    torch.testing.assert_close(volumes[:, :, 0], drawn(config).images(images), rtol=0, atol=1e-9)


@pytest.mark.parametrize("space", [(6, 8), (3, 6, 8)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_flow(name: str, space: tuple[int, ...]) -> None:
    images = (noise(2, 1, *space, dtype=torch.float64) * 0.9).requires_grad_()
    change = drawn(AugmentConfig(**{name: 1.0}), 2)

    assert torch.autograd.gradcheck(change.images, (images,), fast_mode=True)


def test_gradients_are_finite_where_there_is_no_signal() -> None:
    images = torch.full((6, 1, 16, 24), -1.0, requires_grad=True)

    (gradient,) = torch.autograd.grad(drawn(EVERYTHING).images(images).square().sum(), images)

    assert gradient.isfinite().all()


def test_a_straight_curve_is_the_identity_and_a_gamma_keeps_the_ends() -> None:
    images = torch.linspace(-1, 1, 50).double().expand(2, 1, 1, 50)
    one, none = torch.ones(2).double(), torch.zeros(2).double()

    torch.testing.assert_close(transforms.gamma(images, one, none, one), images)
    bent = transforms.gamma(images, one, none, 2 * one)
    torch.testing.assert_close(bent[..., [0, -1]], images[..., [0, -1]])
    assert (bent[..., 1:-1] < images[..., 1:-1]).all()


def test_a_blur_keeps_the_mean_of_what_lies_inside_and_smooths() -> None:
    spot = torch.zeros(1, 1, 33, 33)
    spot[..., 16, 16] = 1

    smooth = transforms.blur(spot, torch.tensor([1.5]), max_std=1.5)

    rows = torch.arange(33) - 16.0
    torch.testing.assert_close(smooth.sum(), torch.tensor(1.0))
    torch.testing.assert_close((smooth[0, 0].sum(1) * rows**2).sum().sqrt(), torch.tensor(1.5), rtol=0.02, atol=0)


def test_a_field_of_no_weight_is_the_identity_and_air_stays_air() -> None:
    images = noise(2, 1, 16, 24)
    images[..., :4] = -1

    torch.testing.assert_close(transforms.bias_field(images, torch.zeros(2, 19)), images)
    assert (transforms.bias_field(images, torch.full((2, 19), 0.3))[..., :4] == -1).all()


def test_ghosts_are_copies_along_the_axis_and_the_mean_stays() -> None:
    image = -torch.ones(1, 1, 64, 64)
    image[..., 30:34, 28:36] = 1

    ghosted = transforms.ghosting(image, -2, torch.tensor([4.0]), torch.tensor([0.5]))

    copy = (ghosted - image)[0, 0, 14:18, 28:36]  # a quarter of 64 rows away
    assert copy.abs().min() > 0.05
    assert (ghosted - image)[..., :20].abs().max() < 1e-5
    torch.testing.assert_close(ghosted.mean(), image.mean())


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_patient_who_moves_by_nothing_leaves_the_image_as_it_is(axis: int) -> None:
    images = noise(2, 1, 16, 24)
    moments, still = torch.rand(2, 2), torch.zeros(2, 2)

    torch.testing.assert_close(transforms.motion(images, axis, moments, [still, still]), images)


@pytest.mark.parametrize("axis", [-1, -2])
def test_a_patient_who_moved_before_everything_is_merely_elsewhere(axis: int) -> None:
    images = transforms.blur(noise(2, 1, 16, 24), torch.full((2,), 1.5), max_std=1.5)
    shift = torch.tensor([[3.0, -2.0], [0.0, 1.0]])

    moved = transforms.motion(images, axis, torch.zeros(2, 2), [shift, shift])

    elsewhere = torch.stack(
        [image.roll((int(rows), int(columns)), (-2, -1)) for image, (columns, rows) in zip(images, shift, strict=True)]
    )
    difference = moved - elsewhere
    # The lines in the very middle stay where they were.
    assert (difference - difference.mean(dim=axis, keepdim=True)).abs().max() < 0.05


def test_probabilities_lie_between_zero_and_one() -> None:
    with pytest.raises(ConfigError, match="rotate"):
        validated(AugmentConfig, {"rotate": 1.1}, where="test")


def test_an_experiment_augments_nothing_until_it_is_asked_to(small: Experiment, data: PreparedDataset) -> None:
    batch = data.split("train").batch(torch.arange(8).numpy(), device=torch.device("cpu"))
    asked = small.patched({"augment": {"rotate": 1.0, "noise": 1.0}})

    assert augmented(small, 3, slice(0, 8), batch) is batch
    whole = augmented(asked, 3, slice(0, 8), batch).images
    assert not torch.equal(whole, batch.images)
    torch.testing.assert_close(augmented(asked, 3, slice(4, 8), batch[4:]).images, whole[4:])
    assert not torch.equal(augmented(asked, 4, slice(0, 8), batch).images, whole)
