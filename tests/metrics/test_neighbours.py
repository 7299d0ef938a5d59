import pytest
import torch
from torch import Tensor

from rayology.metrics import METRICS, Reference, compare_samples
from rayology.metrics.fingerprints import _blurred, fingerprints
from rayology.metrics.neighbours import covered

Classes = tuple[Tensor, Tensor]


def _thirds(classes: Classes) -> list[Tensor]:
    return [torch.cat([images[start:384:3] for images in classes]) for start in range(3)]


def _noisy(images: Tensor) -> Tensor:
    return images + 0.03 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def _requantised(images: Tensor) -> Tensor:
    return ((images + 1) * 16).round() / 16 - 1


def _copies(samples: Tensor, reference: Reference) -> float:
    return compare_samples(samples, reference, only=["copies"])["copies"]


@pytest.fixture(scope="module", params=["head_and_chest", "chest_xrays", "phantom"])
def thirds(request: pytest.FixtureRequest) -> list[Tensor]:
    return _thirds(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def reference(thirds: list[Tensor]) -> Reference:
    return Reference(thirds[0], thirds[1])


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("disguise", [Tensor.clone, _noisy, _requantised], ids=["exact", "noisy", "requantised"])
def test_planted_copies_raise_the_share_of_copies_by_their_share(
    share: float, disguise: object, thirds: list[Tensor], reference: Reference
) -> None:
    assert callable(disguise)
    _, train, samples = thirds
    planted = torch.randperm(len(samples), generator=torch.Generator().manual_seed(1))[: round(share * len(samples))]
    samples = samples.clone()
    samples[planted] = disguise(train[planted])

    assert _copies(samples, reference) == pytest.approx(share + 0.05 * (1 - share), abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("std", [0.7, 1.0, 2.0])
@pytest.mark.parametrize(
    ("thirds", "most"), [("head_and_chest", 0.1), ("chest_xrays", 0.1), ("phantom", 0.2)], indirect=["thirds"]
)
def test_blurred_unseen_images_are_hardly_ever_copies(
    std: float, most: float, thirds: list[Tensor], reference: Reference
) -> None:
    """Slight blur takes the phantom's own noise away, which brings its slices a little nearer to each other."""
    real, _, samples = thirds

    assert _copies(_blurred(real, std), reference) < most
    assert _copies(_blurred(samples, std), reference) < most


@pytest.mark.slow
def test_blurred_copies_are_found(thirds: list[Tensor], reference: Reference) -> None:
    assert _copies(_blurred(thirds[1], 0.7), reference) > 0.9


@pytest.mark.slow
def test_samples_like_the_mean_image_are_no_copies(thirds: list[Tensor], reference: Reference) -> None:
    train = thirds[1].flatten(start_dim=1)
    mean = train.mean(dim=0)
    _, spread, axes = torch.linalg.svd(train - mean, full_matrices=False)
    weights = torch.randn(len(train), 32, generator=torch.Generator().manual_seed(0))
    blurry = (weights * spread[:32] / len(train) ** 0.5) @ axes[:32] + mean

    assert _copies(blurry.view(thirds[1].shape), reference) < 0.1


def test_unseen_real_images_are_copies_at_five_percent(chest_xrays: Classes) -> None:
    real, train, samples = _thirds(chest_xrays)

    figures = compare_samples(samples, Reference(real, train), only=["copies"])

    assert figures["copies/real"] == pytest.approx(0.05, abs=0.01)


def test_a_copy_is_found_even_where_real_images_are_in_the_training_set() -> None:
    images = torch.rand(20, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1

    assert _copies(images[:10], Reference(images, images)) == 1.0


def test_contrast_and_brightness_do_not_change_a_fingerprint() -> None:
    images = torch.rand(3, 2, 96, 40, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(fingerprints(images), fingerprints(0.5 * images - 0.3), atol=1e-5, rtol=1e-4)


def test_a_point_is_covered_up_to_the_third_neighbour_of_a_centre() -> None:
    centres = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    points = torch.tensor([[-2.9], [-3.1], [5.9], [6.1]])

    assert covered(points, centres).tolist() == [True, False, True, False]


@pytest.mark.slow
def test_precision_and_recall_come_from_1000_images_up(chest_xrays: Classes) -> None:
    _, ill = chest_xrays
    reference = Reference(ill[:1000], ill[1000:2000])

    enough = compare_samples(ill[2000:3000], reference, only=["precision", "recall"])
    too_few = compare_samples(ill[2000:2999], reference, only=["precision", "recall"])

    assert enough["precision"] == pytest.approx(enough["precision/real"], abs=0.05)
    assert enough["recall"] == pytest.approx(enough["recall/real"], abs=0.05)
    assert not too_few


@pytest.mark.slow
def test_precision_does_not_see_a_lost_class(chest_xrays: Classes) -> None:
    healthy, ill = chest_xrays
    real, train = (torch.cat([healthy[start:1000:2], ill[start:1000:2]]) for start in (0, 1))

    figures = compare_samples(ill[1000:2000], Reference(real, train), only=["precision", "mmd"])

    assert figures["precision"] == pytest.approx(figures["precision/real"], abs=0.05)
    assert figures["mmd/low"] > figures["mmd/real"]
    assert not METRICS["precision"].objective


def test_copies_of_one_patient_are_told_by_how_near_its_own_slices_lie() -> None:
    """Neighbouring slices are alike: a sample between two of them is no copy, one on top of one of them is."""
    slices = smooth_slices(40)
    reference = Reference(slices[-6:], slices[:30], patient_safe=False)
    between = 0.5 * (slices[0:28:2] + slices[1:29:2])

    assert compare_samples(slices[:14], reference, only=["copies"])["copies"] == 1.0
    assert compare_samples(between, reference, only=["copies"])["copies"] <= 0.2


def smooth_slices(count: int) -> torch.Tensor:
    """Draw slices through a smooth random volume, each like its neighbours."""
    volume = torch.randn(1, 1, count // 4, 16, 16, generator=torch.Generator().manual_seed(3))
    fine = torch.nn.functional.interpolate(volume, size=(count, 32, 32), mode="trilinear")
    return fine[0, 0][:, None].clip(-1.0, 1.0)
