"""List the models of a store, show one, compare two versions, promote one, try one out, or roll a promotion back.

rayology models
rayology models --action compare --name phantom --version 20260101-120000-0123abcd
rayology models --action canary --name phantom --version 20260101-120000-0123abcd --share 0.1
rayology models --action rollback --name phantom
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rayology.bundle import Bundle
from rayology.config import Config
from rayology.errors import StoreError
from rayology.progress import console
from rayology.store import CHAMPION, Canary, Store
from rayology.training.listing import card, listing
from rayology.training.promotion import admitted, compare, promote


class ModelsConfig(Config):
    """What to do with which model."""

    action: Literal["list", "show", "compare", "promote", "canary", "rollback"] = "list"
    """What to do; canary lets a version answer a share of the requests, rollback makes the champion of before the
    champion again."""
    store: str = ""
    """A folder, or an object store's URI such as s3://bucket/prefix; empty for the folder store of the storage."""
    storage: Path = Path(".rayology")
    """Folder of the datasets, as in the experiment: on one of them versions are compared."""
    name: str = ""
    """Name of the model; empty if the store holds a single one, or to list all."""
    version: str = CHAMPION
    """Version to show, compare, promote or try out."""
    other: str = CHAMPION
    """Version to compare it with."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the requests that a canary answers; 0 ends it."""
    force: bool = False
    """Whether to promote even what is worse than the champion, or cannot be compared with it."""


def main(config: ModelsConfig) -> Mapping[str, object]:
    """Return what was found or done."""
    store = Store(config.store or str(config.storage / "store"))
    if config.action == "list":
        models = [] if config.name else store.models()
        return listed(store, models or [store.resolve(config.name)])
    name = store.resolve(config.name)
    match config.action:
        case "show":
            version = store.pin(name, config.version)
            console.print(card(store, name, version))
            manifest = store.manifest(name, version).model_dump(mode="json")
            return {"version": version, "canary": _canary(store, name), **manifest}
        case "compare":
            return compared(store, name, config)
        case "promote":
            return promote(
                store, name, store.pin(name, config.version), storage=config.storage, force=config.force
            ).answer()
        case "canary":
            if config.share:
                try_out(store, name, Canary(store.pin(name, config.version), config.share))
            else:
                ended = "is ended" if store.end_canary(name) else "there was none"
                console.print(f"Canary of {name}: {ended}.", highlight=False)
            return {"name": name, "champion": store.champion_or_none(name), "canary": _canary(store, name)}
        case "rollback":
            before = store.champion(name)
            admitted(store, name, store.earlier_champions(name)[0])  # servers would refuse it, and go on with this one
            return {"name": name, "before": before, "champion": store.rollback(name)}


def listed(store: Store, names: Sequence[str]) -> Mapping[str, object]:
    """Show the versions of some models."""
    console.print(listing(store, names))
    held = {
        name: {
            "champion": store.champion_or_none(name),
            "canary": _canary(store, name),
            "versions": store.versions(name),
        }
        for name in names
    }
    return {"store": store.uri, "models": held}


def try_out(store: Store, name: str, canary: Canary) -> None:
    """Let a version answer its share of the requests, if there is a champion for the rest and it may answer at all."""
    store.champion(name)
    admitted(store, name, canary.version)
    store.set_canary(name, canary)


def compared(store: Store, name: str, config: ModelsConfig) -> Mapping[str, object]:
    """Hold a version against another one."""
    version, other = store.pin(name, config.version), store.pin(name, config.other)
    bundles = [Bundle.load(store.fetch(name, each)) for each in (version, other)]
    found = compare(*bundles, called=other, storage=config.storage)
    if found.verdict == "incomparable":
        raise StoreError(f"{version}: {found.sentence}")
    console.print(f"{version}: {found.sentence}.", highlight=False, markup=False, soft_wrap=True)
    figures = {version: found.figures, other: found.others_figures}
    return {"name": name, "verdict": found.verdict, "why": found.sentence, "figures": figures}


def _canary(store: Store, name: str) -> Mapping[str, object] | None:
    try:
        canary = store.canary(name)
    except StoreError as error:
        return {"version": "", "share": 0.0, "damaged": str(error)}
    return asdict(canary) if canary else None
