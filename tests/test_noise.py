"""Laws of randomness: every number follows from what it is for, and from nothing beside it."""

import torch

from rayology.noise import NoiseSpec, batch_noise, indexed_labels, indexed_noise, rows_of

LATENT = {"latent": NoiseSpec((5,))}
MORE = {"time": NoiseSpec((), "uniform"), **LATENT, "grid": NoiseSpec((2, 3))}


def test_a_new_stream_changes_no_other() -> None:
    alone = batch_noise(LATENT, seed=1, purpose="vae", step=3, count=8)
    beside = batch_noise(MORE, seed=1, purpose="vae", step=3, count=8)

    assert torch.equal(alone["latent"], beside["latent"])
    alone, beside = (indexed_noise(specs, seed=1, indices=range(8)) for specs in (LATENT, MORE))
    assert torch.equal(alone["latent"], beside["latent"])


def test_seed_purpose_step_and_name_each_lead_to_other_numbers() -> None:
    drawn = [
        batch_noise(LATENT, seed=seed, purpose=purpose, step=step, count=4)["latent"]
        for seed, purpose, step in [(0, "vae", 0), (1, "vae", 0), (0, "critic", 0), (0, "vae", 1)]
    ]
    two = batch_noise({"a": NoiseSpec((5,)), "b": NoiseSpec((5,))}, seed=0, purpose="vae", step=0, count=4)
    drawn += [two["a"], two["b"]]

    assert len({tuple(each.flatten().tolist()) for each in drawn}) == len(drawn)


def test_a_sample_depends_on_its_index_and_on_no_other_sample() -> None:
    together = indexed_noise(MORE, seed=2**62, indices=range(10))

    for index in (0, 3, 9):
        alone = indexed_noise(MORE, seed=2**62, indices=[index])
        for name, drawn in alone.items():
            assert torch.equal(drawn[0], together[name][index])


def test_streams_have_their_shapes_and_distributions() -> None:
    noise = indexed_noise(MORE, seed=0, indices=range(2000))

    assert {name: tuple(drawn.shape) for name, drawn in noise.items()} == {
        "time": (2000,),
        "latent": (2000, 5),
        "grid": (2000, 2, 3),
    }
    assert noise["time"].dtype == torch.float64
    assert noise["latent"].dtype == torch.float32
    assert 0 <= noise["time"].min() < 0.01
    assert 0.99 < noise["time"].max() < 1
    assert abs(noise["grid"].mean()) < 0.05
    assert abs(noise["grid"].std() - 1) < 0.05


def test_the_class_of_a_sample_is_a_stream_of_its_own() -> None:
    labels = indexed_labels(3, seed=4, indices=range(300))

    assert torch.equal(labels[7:9], indexed_labels(3, seed=4, indices=[7, 8]))
    assert (labels.bincount(minlength=3) > 60).all()
    assert indexed_labels(0, seed=4, indices=range(3)).tolist() == [0, 0, 0]


def test_rows_of_noise_are_those_of_each_stream() -> None:
    noise = indexed_noise(MORE, seed=0, indices=range(6))

    part = rows_of(noise, slice(2, 4))

    assert all(torch.equal(part[name], drawn[2:4]) for name, drawn in noise.items())
