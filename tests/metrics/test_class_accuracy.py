import pytest
import torch
from torch import Tensor

from rayology.metrics import class_accuracy
from rayology.metrics.class_accuracy import ReferenceClassifier


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit a quarter as long: these classes are obvious; a constant, so monkeypatch is the only way."""
    monkeypatch.setattr(class_accuracy, "STEPS", 100)


def _crosses_and_plain(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw noise, every other image with a bright cross in it."""
    images = 0.1 * torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % 2
    images[1::2, :, 7:9, 4:12] += 1.0
    images[1::2, :, 4:12, 7:9] += 1.0
    return images.clip(-1.0, 1.0), labels


@pytest.mark.slow
def test_obvious_classes_are_classified() -> None:
    classifier = ReferenceClassifier(*_crosses_and_plain(64, seed=0), num_classes=2)
    unseen, labels = _crosses_and_plain(64, seed=1)

    assert classifier.accuracy(unseen, labels) > 0.95
    assert classifier.accuracy(unseen, 1 - labels) < 0.05


@pytest.mark.slow
def test_obvious_classes_of_volumes_are_classified() -> None:
    (images, labels), (unseen, unseen_labels) = _crosses_and_plain(64, seed=0), _crosses_and_plain(64, seed=1)
    volumes, unseen = (each[:, :, None].expand(-1, -1, 16, -1, -1) for each in (images, unseen))

    classifier = ReferenceClassifier(volumes, labels, num_classes=2)

    assert classifier.accuracy(unseen, unseen_labels) > 0.95


@pytest.mark.slow
def test_labels_that_say_nothing_are_classified_by_chance() -> None:
    (images, _), (unseen, _) = _crosses_and_plain(64, seed=0), _crosses_and_plain(400, seed=1)
    drawn = torch.Generator().manual_seed(2)
    labels, unseen_labels = (torch.randint(2, (count,), generator=drawn) for count in (64, 400))

    classifier = ReferenceClassifier(images, labels, num_classes=2)

    assert classifier.accuracy(unseen, unseen_labels) == pytest.approx(0.5, abs=0.1)  # 4 standard deviations


@pytest.mark.slow
def test_the_same_images_give_the_same_classifier_whatever_was_drawn_before() -> None:
    images, _ = _crosses_and_plain(64, seed=0)
    labels = torch.randint(3, (64,), generator=torch.Generator().manual_seed(2))

    first = ReferenceClassifier(images, labels, num_classes=3)
    torch.randn(7)
    second = ReferenceClassifier(images, labels, num_classes=3)

    for one, other in zip(first._network.parameters(), second._network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert first.accuracy(images, labels) == second.accuracy(images, labels)


@pytest.mark.slow
def test_fitting_leaves_the_random_numbers_of_others_alone() -> None:
    before = torch.random.get_rng_state()

    ReferenceClassifier(*_crosses_and_plain(4, seed=0), num_classes=2)

    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow
def test_many_images_are_judged_in_parts_that_count_alike() -> None:
    classifier = ReferenceClassifier(*_crosses_and_plain(64, seed=0), num_classes=2)
    images, labels = _crosses_and_plain(300, seed=1)
    wrong = labels.clone()
    wrong[:30] = 1 - wrong[:30]

    assert classifier.accuracy(images, wrong) == pytest.approx(classifier.accuracy(images, labels) - 0.1, abs=0.02)


def test_a_classifier_does_not_depend_on_how_many_images_it_sees_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_accuracy, "STEPS", 10)  # rounding grows with every step
    images, labels = _crosses_and_plain(64, seed=0)
    whole = ReferenceClassifier(images, labels, num_classes=2)

    values_at_once = 6 * class_accuracy.COPIES * images[0].numel()
    in_parts = ReferenceClassifier(images, labels, num_classes=2, values_at_once=values_at_once)

    for one, other in zip(in_parts._network.parameters(), whole._network.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    assert in_parts.accuracy(images, labels) == whole.accuracy(images, labels)
