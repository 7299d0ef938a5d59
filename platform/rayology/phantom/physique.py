"""What makes one synthetic patient differ from the next."""

import numpy as np

__all__ = ["Physique"]


class Physique:
    """One patient's build, drawn at random; lengths in mm, densities in HU, angles in radians."""

    def __init__(self, generator: np.random.Generator) -> None:
        uniform, normal = generator.uniform, generator.normal
        self.level = uniform(-42, 44)
        """The z of the lowest slice: -40 is the bottom of the heart, 35 the carina."""
        self.turn = normal(0, 0.05)
        """Angle by which the body is turned about z."""
        self.shift = (normal(0, 6), normal(0, 5))
        """Where the body's middle lies in the image, to the right and down from the image's middle."""
        self.scale = (uniform(0.88, 1.07), uniform(0.88, 1.12))
        """Factor on the usual width and depth of the body."""
        self.squareness = uniform(2.1, 2.7)
        """The exponent of the superellipse that the rib cage follows: 2 is an ellipse."""
        self.muscle = uniform(7, 16)
        self.fat = generator.choice([uniform(4, 10), uniform(8, 24)])
        self.breast = uniform(-26, 26)
        """Height of a breast above the chest wall; below 0 for none."""
        self.rib_phase = (uniform(0, 1), uniform(0, 1))
        """Phase of the ribs at z = 0, right and left, as a share of the distance between two ribs."""
        self.rib_drop = uniform(105, 160)
        """Height by which a rib ends lower in front than it starts at the spine."""
        self.disc_phase = uniform(0, 1)
        """Position of the discs, as a share of the distance between two vertebrae."""
        self.heart = uniform(0.82, 1.22)
        """Size of the heart; 1 is usual."""
        self.heart_turn = uniform(0.35, 0.9)
        self.heart_shift = uniform(-8, 10)
        self.vessel = uniform(0.85, 1.25)
        """Width of the great vessels; 1 is usual."""
        self.aorta_shift = uniform(-5, 8)
        self.diaphragm = uniform(-75, -38)
        """The z of the right dome's top."""
        self.lung = uniform(-885, -800)
        """The density of the lungs in front; they are denser at the back."""
        self.lung_gradient = uniform(20, 75)
        """Increase of the lungs' density 100 mm further back."""
        self.bone = uniform(550, 900)
        """The density of cortical bone."""
        self.marrow = uniform(130, 280)
        self.table = generator.choice([-1.0, uniform(0, 12)])
        """Distance of the table below the back; below 0 it is out of view."""
        self.noise = uniform(8, 30)
        """The standard deviation of the noise inside the body."""
