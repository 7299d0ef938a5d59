import pytest
import torch
from torch import Tensor

from rayology.metrics.features import FeatureScale, random_features


def _images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(
    "shape", [(1, 16, 16), (3, 16, 16), (1, 28, 28), (2, 80, 48), (1, 16, 16, 16), (2, 16, 17, 24)], ids=str
)
def test_features_are_finite_for_any_size_and_channels(shape: tuple[int, ...]) -> None:
    features = random_features(_images(3, *shape))

    assert features.shape[0] == 3
    assert features.isfinite().all()


def test_the_features_are_the_same_on_every_machine() -> None:
    ramp = torch.linspace(-1, 1, 16).expand(1, 1, 16, 16)

    features = random_features(ramp)[0]

    assert features.shape == (2 * (16 + 32 + 64),)
    assert float(features.sum()) == pytest.approx(92.2485, rel=1e-4)


def test_the_features_of_volumes_are_the_same_on_every_machine() -> None:
    ramp = torch.linspace(-1, 1, 16).expand(1, 1, 16, 16, 16)

    features = random_features(ramp)[0]

    assert features.shape == (2 * (16 + 32 + 64),)
    assert float(features.sum()) == pytest.approx(67.0908, rel=1e-4)


def test_the_features_of_an_image_do_not_depend_on_its_neighbours() -> None:
    images = _images(20, 1, 32, 32)

    torch.testing.assert_close(random_features(images)[13:15], random_features(images[13:15]))


def test_larger_images_are_seen_at_more_scales() -> None:
    assert random_features(_images(1, 1, 64, 64)).shape[1] == 2 * (16 + 32 + 64 + 64 + 64)


def test_the_scale_standardises_features_and_halves_what_they_have_in_common() -> None:
    common, own = (torch.randn(2000, generator=torch.Generator().manual_seed(seed)).double() for seed in range(2))
    features = torch.stack([5 + 10 * common, 10 * common, own], dim=1)

    scaled = FeatureScale.of(features)(features)

    variances = scaled.T.cov().diagonal().sort().values
    torch.testing.assert_close(
        variances, torch.tensor([0.0, 2**-0.5, 2 / 3**0.5], dtype=torch.float64), atol=0.05, rtol=0.0
    )


def test_a_feature_that_never_varies_stays_finite() -> None:
    assert FeatureScale.of(torch.zeros(4, 3))(torch.ones(2, 3)).isfinite().all()
