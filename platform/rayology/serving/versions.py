"""The versions of one model that a replica holds, and which of them answers a request."""

import logging
import threading
import zlib
from collections.abc import Callable

from rayology.errors import RayologyError, StoreError
from rayology.serving.predictor import Predictor
from rayology.store import CHAMPION, Canary, Store

__all__ = ["Versions"]

logger = logging.getLogger(__name__)

POLL_S = 2.0  # between two looks at the store
MOST = 4  # versions in memory: champion, canary and others that were the champion or that requests named


class Versions:
    """Follow the store: hold its champion, its canary, and a few versions that requests name.

    A version is loaded while others answer and takes over once it can. One that cannot be served leaves the one
    before it in place. A request keeps the version that it began with.

    Args:
        store: where the versions are.
        name: the model.
        load: function that makes a predictor of a version; raises RayologyError.
        wanted: the version to serve; ``champion`` follows the store's pointer, and lets a canary have its share.
    """

    def __init__(self, store: Store, name: str, load: Callable[[str], Predictor], *, wanted: str = CHAMPION) -> None:
        self._store, self._name, self._load, self._wanted = store, name, load, wanted
        self._loading = threading.Lock()
        self._held: dict[str, Predictor] = {}  # replaced as a whole, so that nobody who reads it waits
        self._refused: dict[str, str] = {}
        self._canary: Canary | None = None
        self._champion = self.holding(store.pin(name, wanted))
        self.look()
        self._is_closed = threading.Event()
        threading.Thread(target=self._follow, name="versions", daemon=True).start()

    @property
    def champion(self) -> Predictor:
        """The version that answers who names none."""
        return self._champion

    @property
    def complaints(self) -> tuple[str, ...]:
        """Why this replica does not serve what the store names; empty if it does."""
        return tuple(self._refused.values())

    def chosen(self, request_id: str) -> Predictor:
        """Return the canary for its share of the requests, else the champion; an id always gets the same one."""
        canary = self._canary
        if canary and zlib.crc32(request_id.encode()) < canary.share * 2**32:
            return self._held.get(canary.version, self._champion)
        return self._champion

    def holding(self, version: str) -> Predictor:
        """Return a version, which is loaded if it is not in memory; this may take a while.

        Raises:
            RayologyError: there is none of that name, or it cannot be served.
        """
        with self._loading:
            if version not in self._held:
                loaded = self._load(version)
                others = [each for each in self._held if each not in self._named()]
                dropped = set(others[: max(0, len(self._held) + 1 - MOST)])
                self._held = {each: held for each, held in self._held.items() if each not in dropped} | {
                    version: loaded
                }
            return self._held[version]

    def look(self) -> None:
        """Take up what the store names now."""
        try:
            champion = self._store.pin(self._name, self._wanted)
            canary = self._store.canary(self._name) if self._wanted == CHAMPION else None
        except StoreError as error:
            self._complain("", str(error))
            return
        named = {champion, canary.version} if canary else {champion}
        self._refused = {version: why for version, why in self._refused.items() if version in named}
        for version in named - self._held.keys() - self._refused.keys():
            try:
                self.holding(version)
            except RayologyError as error:
                self._complain(version, str(error))
        before, self._champion = self._champion, self._held.get(champion, self._champion)
        self._canary = canary if canary and canary.version in self._held else None
        if before is not self._champion:
            logger.info("%s: %s answers, in place of %s.", self._name, champion, before.card.version)

    def close(self) -> None:
        """Follow the store no longer."""
        self._is_closed.set()

    def _follow(self) -> None:
        while not self._is_closed.wait(POLL_S):
            self.look()

    def _named(self) -> set[str]:
        """Return the versions that the store named last."""
        return {self._champion.card.version, self._canary.version if self._canary else ""} if self._held else set()

    def _complain(self, version: str, why: str) -> None:
        sentence = f"{version or self._store.uri} cannot be served, and what was served goes on: {why}"
        if self._refused.get(version) != sentence:
            logger.error("%s: %s", self._name, sentence)
        self._refused = {**self._refused, version: sentence}
