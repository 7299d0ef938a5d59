"""Trees of configs with all that a config may hold: unions in unions, aliases, mappings, groups that may be missing."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rayology.config import Config


class Dense(Config):
    """A dense network."""

    kind: Literal["dense"] = "dense"
    """Which."""
    width: PositiveInt = 8
    """Units of a layer."""


class Conv(Config):
    """A convolutional network."""

    kind: Literal["conv"] = "conv"
    """Which."""
    width: PositiveInt = 4
    """Channels."""
    kernel: PositiveInt = 3
    """Side of the kernel."""


class Named(Config):
    """A field whose name in files is a word of Python."""

    kind: Literal["named"] = "named"
    """Which."""
    class_name: Annotated[str, Field(alias="class")] = ""
    """Class."""


class Holder(Config):
    """A union with such a field in one of its kinds."""

    net: Annotated[Dense | Named, Field(discriminator="kind")] = Named.model_validate({"class": "nodule"})
    """The network."""


class Settings(Config):
    """Some settings."""

    net: Annotated[Dense | Conv, Field(discriminator="kind")] = Dense()
    """The network."""
    lr: PositiveFloat = 0.1
    """The learning rate."""
    place: Path = Path()
    """Where."""


class Straight(Config):
    """A line."""

    kind: Literal["straight"] = "straight"
    """Which."""
    slope: PositiveFloat = 1.0
    """How steep."""


class Bent(Config):
    """Two lines."""

    kind: Literal["bent"] = "bent"
    """Which."""
    slope: PositiveFloat = 0.1
    """How steep on the left."""
    knot: float = 0.0
    """Where they meet."""


Nonlinearity = Annotated[Straight | Bent, Field(discriminator="kind")]


class Shallow(Config):
    """A shallow network."""

    kind: Literal["shallow"] = "shallow"
    """Which."""
    width: PositiveInt = 8
    """Units of a layer."""
    nonlinearity: Nonlinearity = Bent(slope=0.3)
    """What follows a layer."""


class Deep(Config):
    """A deep network."""

    kind: Literal["deep"] = "deep"
    """Which."""
    width: PositiveInt = 4
    """Units of a layer."""
    layers: PositiveInt = 3
    """How many."""
    nonlinearity: Nonlinearity = Straight(slope=0.7)
    """What follows a layer."""


Network = Annotated[Shallow | Deep, Field(discriminator="kind")]


class Judge(Config):
    """A model whose network is not the default one of its kind."""

    kind: Literal["judge"] = "judge"
    """Which."""
    network: Network = Deep(layers=5, nonlinearity=Bent(knot=0.5))
    """The network."""
    name: str
    """A value that must be given."""


class Maker(Config):
    """A model whose network is another default still."""

    kind: Literal["maker"] = "maker"
    """Which."""
    network: Network = Shallow(width=16)
    """The network."""
    latents: PositiveInt = 64
    """Numbers to start from."""


class Limits(Config):
    """What is allowed."""

    network: Network = Shallow(width=2)
    """The largest network."""


class Tree(Config):
    """Unions in unions, whose defaults are not those of the kinds."""

    model: Annotated[Judge | Maker, Field(discriminator="kind")] = Maker(latents=7, network=Shallow(width=32))
    """The model."""
    limits: Limits = Limits()
    """The limits."""
    labels: dict[str, int] = Field(default_factory=lambda: {"a": 1})
    """Numbers by name."""


class Optional(Config):
    """A group that need not be there."""

    limits: Limits | None = None
    """The limits, if there are any."""
