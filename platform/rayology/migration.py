"""What earlier versions wrote, brought to today's format step by step; what was readable once stays readable."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

__all__ = ["FORMAT_VERSION", "migrated", "migrated_weights"]

Document = dict[str, Any]  # JSON of a form that no type describes any more
Weights = dict[str, Tensor]

FORMAT_VERSION = 4


def migrated(manifest: Document) -> Document:
    """Return a manifest of any earlier format in today's.

    Raises:
        KeyError, TypeError, AttributeError: it is not what its version wrote.
    """
    for version in range(manifest["format_version"], FORMAT_VERSION):
        manifest = MIGRATIONS[version][0](manifest)
    return manifest


def migrated_weights(weights: Weights, *, written_as: int) -> Weights:
    """Return the weights of a bundle of any earlier format under today's names."""
    for version in range(written_as, FORMAT_VERSION):
        weights = MIGRATIONS[version][1](weights)
    return weights


def _manifest_of_1(manifest: Document) -> Document:
    """Move the activation from the backbone to the model, and say what the model can do and how it is called."""
    model, experiment = manifest["model"], manifest["experiment"]
    backbone = {name: value for name, value in model["backbone"].items() if name != "activation"}
    able = {"vae": ["generate", "reconstruct", "bound", "encode"], "gan": ["generate"]}[model["kind"]]
    return {
        **manifest,
        "format_version": 2,
        "name": experiment["name"],
        "capabilities": able,
        "model": {**model, "backbone": backbone, "activation": model["backbone"]["activation"]},
        "experiment": {name: value for name, value in experiment.items() if name != "model"},
    }


def _weights_of_1(weights: Weights) -> Weights:
    """Give the layers behind the linear stem of a decoder a module of their own."""
    return {_renamed(name): weight for name, weight in weights.items()}


def _renamed(name: str) -> str:
    """Return the name in format 2.

    >>> _renamed("decoder.difference.last.weight"), _renamed("generator.levels.0.weight"), _renamed("encoder.levels.0")
    ('decoder.difference.network.head.weight', 'generator.network.levels.0.weight', 'encoder.levels.0')
    """
    inside = re.sub(r"^(decoder\.difference|generator)\.(levels|last)\.", r"\1.network.\2.", name)
    return inside.replace(".network.last.", ".network.head.")


def _manifest_of_2(manifest: Document) -> Document:
    """Give each network of a model a backbone of its own, and a critic's penalty a kind."""
    model = dict(manifest["model"])
    backbone = model.pop("backbone")
    match model["kind"]:
        case "gan":
            regulariser = {"kind": "zero_centred", "weight": model.pop("penalty")}
            model |= {"generator": backbone, "critic": backbone, "regulariser": regulariser}
        case "vae":
            model |= {"encoder": backbone, "decoder": backbone}
    return {**manifest, "format_version": 3, "model": model}


def _manifest_of_3(manifest: Document) -> Document:
    """Give a VAE the parts that it had no choice of."""
    model = dict(manifest["model"])
    if model["kind"] == "vae":
        model["objective"] = {"kind": "elbo", "beta": model.pop("beta")}
    return {**manifest, "format_version": 4, "model": model}


def _as_they_are(weights: Weights) -> Weights:
    return weights


Migration = tuple[Callable[[Document], Document], Callable[[Weights], Weights]]
MIGRATIONS: Mapping[int, Migration] = {
    1: (_manifest_of_1, _weights_of_1),
    2: (_manifest_of_2, _as_they_are),
    3: (_manifest_of_3, _as_they_are),
}
"""By the format that each leads away from: what becomes of a manifest, and of the weights."""
