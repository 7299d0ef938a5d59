import pytest
import torch

from rayology.metrics.bands import BANDS, band_shares


@pytest.mark.parametrize(
    ("hounsfield", "band"), [(-1000, "air"), (-800, "lung"), (-100, "soft tissue"), (50, "soft tissue"), (700, "bone")]
)
def test_a_tissue_falls_into_its_band(hounsfield: float, band: str) -> None:
    shares = band_shares(torch.full((2, 1, 4, 4), float(hounsfield)))

    assert shares == {name: float(name == band) for name in BANDS}


def test_the_shares_add_up_to_one_even_on_the_bounds() -> None:
    bounds = [bound for band in BANDS.values() for bound in band]
    anything = (torch.rand(97, generator=torch.Generator().manual_seed(0)) * 4000 - 2000).tolist()
    pixels = torch.tensor([*bounds[1:-1], *anything, -1e9, 1e9]).view(1, 1, 1, -1)

    shares = band_shares(pixels)

    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) > 0


@pytest.mark.parametrize("size", [(2, 2), (1, 2, 2)])
def test_each_pixel_counts_alike(size: tuple[int, ...]) -> None:
    half_air = torch.tensor([[-1000.0, 50.0], [50.0, -1000.0]]).view(1, 1, *size)

    assert band_shares(half_air) == {"air": 0.5, "lung": 0.0, "soft tissue": 0.5, "bone": 0.0}
