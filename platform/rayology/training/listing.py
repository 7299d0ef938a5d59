"""What a store holds, laid out for people."""

from collections.abc import Iterator, Sequence
from datetime import UTC

from rich.table import Table

from rayology.bundle import Manifest
from rayology.errors import BundleError, StoreError
from rayology.store import Canary, Store
from rayology.training.promotion import objective_of

__all__ = ["card", "listing"]


def listing(store: Store, models: Sequence[str]) -> Table:
    """Lay out the versions of some models, the newest first."""
    laid_out = Table("name", "version", "written", "kind", "objective", "value", "dataset", "")
    for model in models:
        roles = {store.champion_or_none(model): "champion"}
        try:
            if canary := store.canary(model):
                roles[canary.version] = f"canary, {_share(canary)}"
        except StoreError:  # which hides no version
            laid_out.add_row(model, "", "", "", "", "", "", "canary, damaged: set it again, or end it")
        for version in reversed(store.versions(model)):
            laid_out.add_row(model, version, *_facts(store, model, version), roles.get(version, ""))
    return laid_out


def card(store: Store, name: str, version: str) -> Table:
    """Lay out the card of a version, with the canary of its model if there is one.

    Raises:
        StoreError: there is no such version.
        BundleError: its manifest is damaged.
    """
    manifest = store.manifest(name, version)
    laid_out = Table("fact", "value", title=f"{name} {version}", caption=manifest.provenance.note or None)
    for fact, value in _facts_of_card(manifest):
        laid_out.add_row(fact, value)
    if canary := _canary(store, name):
        laid_out.add_row("canary of the model", canary)
    return laid_out


def _canary(store: Store, name: str) -> str:
    try:
        canary = store.canary(name)
    except StoreError:
        return "is damaged: set it again, or end it"
    return f"{canary.version}, {_share(canary)} of the requests" if canary else ""


def _facts(store: Store, name: str, version: str) -> tuple[str, ...]:
    """Return when a version was written, what it is and how good; one damaged version does not hide the others."""
    try:
        manifest = store.manifest(name, version)
    except BundleError:
        return ("", "damaged", "", "", "")
    objective, origin = objective_of(manifest), manifest.provenance
    figure = manifest.metrics.get(objective)
    value = "" if figure is None else f"{figure:.4g}"
    return (_written(manifest), manifest.model.kind, objective, value, origin.dataset[:8])


def _facts_of_card(manifest: Manifest) -> Iterator[tuple[str, str]]:
    image, origin = manifest.image, manifest.provenance
    shape = f"{'x'.join(map(str, image.size))} {'volumes' if image.is_volume else 'images'}"
    yield "experiment", manifest.name
    yield "kind", manifest.model.kind
    yield "can", ", ".join(manifest.capabilities)
    yield "makes or takes", f"{shape}, {image.values.low:g} to {image.values.high:g} ({image.values.unit})"
    yield "classes", ", ".join(image.classes) or "none"
    yield "dataset", origin.dataset
    yield "trained", f"{origin.steps} steps, seed {origin.seed}"
    yield "written", _written(manifest)
    yield "objective", objective_of(manifest)
    yield from ((name, f"{figure:.4g}") for name, figure in sorted(manifest.metrics.items()))


def _share(canary: Canary) -> str:
    return f"{100 * canary.share:.3g} %"


def _written(manifest: Manifest) -> str:
    return f"{manifest.provenance.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
