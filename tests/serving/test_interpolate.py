"""Images on the way from one that is drawn to another, and images of several classes in turn."""

import httpx
import numpy as np
import pytest
from tests.serving.exchanges import refused

from rayology.client import Client
from rayology.errors import RequestError


@pytest.fixture
def client(vae_transport: httpx.BaseTransport) -> Client:
    return Client("http://model", transport=vae_transport)


def test_the_way_begins_and_ends_with_the_images_of_its_seeds_and_changes_little_by_little(client: Client) -> None:
    way = client.interpolate((3, 1), (4, 0), count=4, class_name="mass")

    begin = client.generate(seed=3, first_index=1, class_name="mass")
    end = client.generate(seed=4, class_name="mass")
    assert way.nature == "synthetic"
    assert (way.classes, way.seed, way.first_index) == (("mass",) * 4, None, None)
    np.testing.assert_array_equal(way.images[0], begin.images[0])
    np.testing.assert_array_equal(way.images[-1], end.images[0])
    steps = [float(np.abs(one - next_one).mean()) for one, next_one in zip(way.images, way.images[1:], strict=False)]
    assert all(0 < step < float(np.abs(way.images[-1] - way.images[0]).mean()) for step in steps)


def test_without_a_class_the_way_has_that_of_the_image_that_it_begins_with(client: Client) -> None:
    drawn = client.generate(count=8, seed=5)

    for index, name in enumerate(drawn.classes):
        way = client.interpolate((5, index), (6, 0), count=2)
        assert way.classes == (name, name)
        np.testing.assert_array_equal(way.images[0], drawn.images[index])


def test_a_way_has_two_ends_and_no_more_images_than_one_may_ask_for(client: Client) -> None:
    with pytest.raises(RequestError, match="422: count"):
        client.interpolate((1, 0), (2, 0), count=1)
    with pytest.raises(RequestError, match="422: count 1000 is too many"):
        client.interpolate((1, 0), (2, 0), count=1000)


def test_a_way_that_leads_nowhere_is_refused(client: Client) -> None:
    with pytest.raises(RequestError, match=r"422: .*name another image"):
        client.interpolate((1, 2), (1, 2))


def test_images_have_the_classes_of_a_list_in_turn_by_their_indices(client: Client) -> None:
    names = ["none", "mass"]
    whole = client.generate(count=4, seed=2, class_name=names)

    part = client.generate(count=2, seed=2, first_index=1, class_name=names)

    assert whole.classes == ("none", "mass", "none", "mass")
    np.testing.assert_array_equal(part.images, whole.images[1:3])


@pytest.mark.parametrize("wrong", [[], [1], {"a": 1}, 3, ["none", None]])
def test_what_is_no_list_of_classes_is_refused(vae: httpx.Client, wrong: object) -> None:
    said = refused(vae.post("/generate", json={"class": wrong}), 422)

    assert said.startswith("class: ")
    assert "write a class, or a list of classes" in said
