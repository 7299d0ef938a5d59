"""What the parts of a VAE keep to: priors are densities, likelihoods probabilities, and bounds bounds."""

import math

import pytest
import torch
from torch import Tensor

from rayology.image import Batch, ImageSpec, ValueRange
from rayology.models import Vae, VaeConfig
from rayology.models.backbones import ResNetConfig
from rayology.models.likelihood import (
    BernoulliConfig,
    GaussianConfig,
    LaplaceConfig,
    Likelihood,
    LikelihoodConfig,
    LogisticConfig,
    ScaledLikelihood,
)
from rayology.models.prior import NormalConfig, Posterior, Prior, PriorConfig, VampConfig
from rayology.models.vae import ElboConfig, IwaeConfig, ObjectiveConfig
from rayology.noise import Noise, indexed_noise

SMALL = ResNetConfig(width=8)
SPEC = ImageSpec(size=(16, 16), classes=("a", "b"))
LATENTS = 3
ON_STORED_VALUES = [GaussianConfig(), LaplaceConfig(), LogisticConfig()]
PRIORS: list[PriorConfig] = [NormalConfig(), VampConfig(components=4)]
OBJECTIVES: list[ObjectiveConfig] = [ElboConfig(), ElboConfig(beta=4.0), IwaeConfig()]


def scaled(likelihood: LikelihoodConfig, scale: float, spec: ImageSpec = SPEC) -> Likelihood:
    """Return a likelihood with a scale, in units of the [-1, 1] range."""
    module = likelihood.build(spec)
    assert isinstance(module, ScaledLikelihood)
    module.log_scale.data.fill_(math.log(scale) / 10)
    return module


def vae(
    *,
    prior: PriorConfig = PRIORS[0],
    objective: ObjectiveConfig = OBJECTIVES[0],
    latents: int = LATENTS,
    std: float = 0.1,
) -> Vae:
    """Return a VAE with random weights; without them its decoder ignores the latents."""
    torch.manual_seed(0)
    config = VaeConfig(encoder=SMALL, decoder=SMALL, latents=latents, prior=prior, objective=objective)
    model = config.build(SPEC)
    for name, weight in model.named_parameters():
        if std and "log_scale" not in name:
            torch.nn.init.normal_(weight, std=std)
    return model


def batch_of(count: int = 4) -> Batch:
    images = torch.rand(count, *SPEC.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(images, torch.arange(count) % 2)


def noise_of(model: Vae, particles: int = 1, *, count: int = 4, seed: int = 2) -> Noise:
    return indexed_noise(model.bound_noise(particles), seed=seed, indices=range(count))


def values_of(spec: ImageSpec) -> Tensor:
    """Return every stored value once, as a model sees it."""
    return torch.linspace(-1, 1, spec.values.levels, dtype=torch.float64)[:, None, None, None]


def test_the_rate_under_a_normal_prior_agrees_with_torchs_own() -> None:
    model, (mean, log_std) = vae(), torch.randn(2, 5, LATENTS).unbind()
    posterior = torch.distributions.Normal(mean, log_std.exp())

    rate = model.prior.rate((mean, log_std), mean, torch.zeros(5, dtype=torch.int64), model._posterior)

    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(rate, expected)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.kind)
def test_a_priors_density_integrates_to_one_in_each_class(prior: PriorConfig) -> None:
    model = vae(prior=prior, latents=1, std=0.05).double()
    places = torch.linspace(-40, 40, 20_001, dtype=torch.float64)

    for label in range(2):
        density = model.prior.log_prob(places[None, :, None], torch.tensor([label]), model._posterior).exp().detach()
        assert float(torch.trapezoid(density[0], places)) == pytest.approx(1, abs=1e-6)


GREYS = torch.tensor([-0.6, -0.2, 0.2, 0.6])  # of learned images, far apart for the encoder below
APART = Posterior(
    features=lambda images: images.flatten(1).mean(1, keepdim=True),
    moments=lambda greys, labels: (20 * greys + 3 * labels[:, None], torch.full_like(greys, -2.0)),
)


def mixture() -> Prior:
    prior = VampConfig(components=4).build(SPEC, latents=1, num_classes=2)
    prior.get_parameter("pixels").data.copy_((GREYS.atanh() / 10).view(4, 1, 1, 1).expand(4, *SPEC.shape))
    return prior


@torch.no_grad()
def test_the_mixture_is_torchs_own_of_what_the_encoder_makes_of_the_learned_images() -> None:
    places = torch.linspace(-20, 20, 801)

    for label in range(2):
        components = torch.distributions.Normal(20 * GREYS + 3 * label, math.exp(-2))
        expected = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(4)), components)
        found = mixture().log_prob(places[None, :, None], torch.tensor([label]), APART)[0]
        torch.testing.assert_close(found, expected.log_prob(places), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_every_component_is_drawn_as_often_as_another_in_the_class_that_is_asked_for() -> None:
    prior, count = mixture(), 400

    noise = indexed_noise(prior.noise(), seed=0, indices=range(count))
    drawn = prior.sample(noise, torch.ones(count, dtype=torch.int64), APART)

    distances = (drawn - (20 * GREYS + 3)).abs()
    assert distances.min(1).values.max() < 1
    assert distances.argmin(1).bincount(minlength=4).min() > 0.8 * count / 4


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.kind)
def test_what_is_drawn_from_a_prior_has_the_moments_of_its_density(prior: PriorConfig) -> None:
    model, count = vae(prior=prior, latents=1, std=0.05), 4000
    places = torch.linspace(-40, 40, 20_001)
    density = model.prior.log_prob(places[None, :, None], torch.tensor([1]), model._posterior).exp()[0].detach()
    mean = float(torch.trapezoid(density * places, places))
    std = math.sqrt(float(torch.trapezoid(density * (places - mean).square(), places)))

    noise = indexed_noise(model.sample_noise(), seed=0, indices=range(count))
    with torch.no_grad():
        drawn = model.prior.sample(noise, torch.ones(count, dtype=torch.int64), model._posterior)

    assert float(drawn.mean()) == pytest.approx(mean, abs=4 * std / math.sqrt(count))
    assert float(drawn.std()) == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize(
    ("likelihood", "torchs"),
    [(GaussianConfig(), torch.distributions.Normal), (LaplaceConfig(), torch.distributions.Laplace)],
    ids=["gaussian", "laplace"],
)
def test_a_density_agrees_with_torchs_own_and_never_gets_narrower_than_half_a_step(
    likelihood: LikelihoodConfig, torchs: type[torch.distributions.Normal | torch.distributions.Laplace]
) -> None:
    module = scaled(likelihood, 1e-30)
    step = 2.0 / (SPEC.values.levels - 1)
    images, decoded = torch.rand(2, 3, *SPEC.shape).unbind()

    found = torchs(decoded, step / 2).log_prob(images)  # type: ignore[no-untyped-call] # torch lacks types here
    expected = -found.flatten(1).mean(1) - math.log(step)

    torch.testing.assert_close(module(images, decoded), expected)


@pytest.mark.parametrize("likelihood", ON_STORED_VALUES, ids=lambda likelihood: likelihood.kind)
@pytest.mark.parametrize("scale", [0.02, 0.1])
def test_the_probabilities_of_all_stored_values_sum_to_one(likelihood: LikelihoodConfig, scale: float) -> None:
    spec = SPEC.patched({"values": {"levels": 4096}})
    module = scaled(likelihood, scale, spec).double()

    probabilities = (-module(values_of(spec), torch.full((4096, 1, 1, 1), 0.1, dtype=torch.float64))).exp().detach()

    assert float(probabilities.sum()) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("decoded", [-3.0, -1.0, 0.3, 1.0])
@pytest.mark.parametrize("levels", [2, 256])
def test_the_discretised_logistic_is_a_probability_wherever_it_lies(decoded: float, levels: int) -> None:
    spec = SPEC.patched({"values": ValueRange(levels=levels)})
    module = LogisticConfig().build(spec).double()

    probabilities = (
        (-module(values_of(spec), torch.full((levels, 1, 1, 1), decoded, dtype=torch.float64))).exp().detach()
    )

    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-9)


def test_a_pixel_is_white_as_often_as_its_grey_level_says() -> None:
    module, greys = BernoulliConfig().build(SPEC), torch.tensor([-1.0, -0.5, 0.0, 1.0])
    images = greys.repeat(64).view(1, 1, 16, 16).expand(100, -1, -1, -1)

    seen = module.observed(images, indexed_noise(module.noise(), seed=0, indices=range(100)))

    assert set(seen.unique().tolist()) == {0.0, 1.0}
    shares = seen.view(-1, 4).mean(0)
    torch.testing.assert_close(shares, (greys + 1) / 2, rtol=0, atol=0.03)
    assert shares[0] == 0
    assert shares[3] == 1


def test_what_a_bernoulli_decodes_is_its_mean() -> None:
    module, logits = BernoulliConfig().build(SPEC), torch.linspace(-4, 4, 256).view(1, 1, 16, 16)
    white = module(torch.ones_like(logits), logits)

    means = module.mean(logits)

    assert means.min() > -1
    assert means.max() < 1
    torch.testing.assert_close(-((means + 1) / 2).log().flatten(1).mean(1), white)


def test_the_bound_is_the_loss_at_beta_one_whatever_the_objective_is() -> None:
    batch = batch_of()
    bounds = [
        model.bits_per_dim(batch, noise_of(model)) for model in (vae(objective=objective) for objective in OBJECTIVES)
    ]

    for bound in bounds[1:]:
        torch.testing.assert_close(bounds[0], bound)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.kind)
def test_of_one_particle_the_importance_weighted_bound_is_the_evidence_lower_bound(prior: PriorConfig) -> None:
    model, batch = vae(prior=prior), batch_of()
    elbo, iwae = [], []
    with torch.no_grad():
        for seed in range(100):
            noise = noise_of(model, seed=seed)
            elbo.append(model.bits_per_dim(batch, noise))
            iwae.append(-model._bound(batch, noise) / SPEC.grid.num_values / math.log(2))

    differences = (torch.stack(elbo) - torch.stack(iwae)).mean(1)  # of one draw for both; means are equal
    assert abs(float(differences.mean())) < 4 * float(differences.std()) / math.sqrt(len(differences)) + 1e-7


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.kind)
def test_the_bound_falls_with_every_particle(prior: PriorConfig) -> None:
    model, batch = vae(prior=prior, std=0.2), batch_of(16)

    with torch.no_grad():
        bounds = [
            float(model.bits_per_dim(batch, noise_of(model, particles, count=16)).mean()) for particles in (1, 5, 50)
        ]

    assert bounds[0] > bounds[1] > bounds[2]


def test_of_many_particles_the_bound_comes_to_the_likelihood_where_that_is_known() -> None:
    """A decoder that ignores its latents has a likelihood that is none but the distortion."""
    model, batch = vae(std=0), batch_of()
    torch.nn.init.normal_(model.posterior.weight, std=0.02)

    with torch.no_grad():
        bits = model.bits_per_dim(batch, noise_of(model, 4000))
        distortion = model.likelihood(batch.images, model.decode(torch.zeros(4, LATENTS), batch.labels))

    torch.testing.assert_close(bits, distortion / math.log(2), rtol=1e-4, atol=0)


def test_below_its_free_bits_the_rate_teaches_nothing() -> None:
    batch = batch_of()
    for free_bits, is_taught in ((0.0, True), (1e6, False)):
        model = vae(objective=ElboConfig(free_bits=free_bits))
        (phase,) = model.phases()

        rate = phase.terms(batch, noise_of(model)).terms["rate"]

        assert rate.min() >= free_bits * math.log(2) / SPEC.grid.num_values * (1 - 1e-6)
        gradient = torch.autograd.grad(rate.sum(), model.posterior.weight)[0]
        assert bool(gradient.any()) == is_taught
