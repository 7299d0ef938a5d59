"""What makes one synthetic patient differ from the next."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Physique"]


@dataclass(frozen=True)
class Physique:
    """One patient's build; lengths in mm, densities in HU, angles in radians."""

    level: float
    """The z of the lowest slice: -40 is the bottom of the heart, 35 the carina."""
    turn: float
    shift: tuple[float, float]
    scale: tuple[float, float]
    """Factor on the usual width and depth of the body."""
    squareness: float
    """The exponent of the superellipse that the rib cage follows: 2 is an ellipse."""
    muscle: float
    fat: float
    breast: float
    """Height of a breast above the chest wall; below 0 for none."""
    rib_phase: tuple[float, float]
    """Phase of the ribs at z = 0, right and left, as a share of the distance between two ribs."""
    rib_drop: float
    """Height by which a rib ends lower in front than it starts at the spine."""
    disc_phase: float
    """Position of the discs, as a share of the distance between two vertebrae."""
    heart: float
    """Size of the heart; 1 is usual."""
    heart_turn: float
    heart_shift: float
    vessel: float
    """Width of the great vessels; 1 is usual."""
    aorta_shift: float
    diaphragm: float
    """The z of the right dome's top."""
    lung: float
    """The density of the lungs in front; they are denser at the back."""
    lung_gradient: float
    """Increase of the lungs' density 100 mm further back."""
    bone: float
    """The density of cortical bone."""
    marrow: float
    table: float
    """Distance of the table below the back; below 0 it is out of view."""
    noise: float
    """The standard deviation of the noise inside the body."""

    @classmethod
    def sampled(cls, generator: np.random.Generator) -> "Physique":
        """Draw a patient."""
        uniform, normal = generator.uniform, generator.normal
        return cls(
            level=uniform(-42, 44),
            turn=normal(0, 0.05),
            shift=(normal(0, 6), normal(0, 5)),
            scale=(uniform(0.88, 1.07), uniform(0.88, 1.12)),
            squareness=uniform(2.1, 2.7),
            muscle=uniform(7, 16),
            fat=generator.choice([uniform(4, 10), uniform(8, 24)]),
            breast=uniform(-26, 26),
            rib_phase=(uniform(0, 1), uniform(0, 1)),
            rib_drop=uniform(105, 160),
            disc_phase=uniform(0, 1),
            heart=uniform(0.82, 1.22),
            heart_turn=uniform(0.35, 0.9),
            heart_shift=uniform(-8, 10),
            vessel=uniform(0.85, 1.25),
            aorta_shift=uniform(-5, 8),
            diaphragm=uniform(-75, -38),
            lung=uniform(-885, -800),
            lung_gradient=uniform(20, 75),
            bone=uniform(550, 900),
            marrow=uniform(130, 280),
            table=generator.choice([-1.0, uniform(0, 12)]),
            noise=uniform(8, 30),
        )
