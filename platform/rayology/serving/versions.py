"""The versions of one model that a replica holds, and which of them answers a request."""

import logging
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from rayology.errors import (
    BundleError,
    BusyError,
    ConfigError,
    MissingVersion,
    RayologyError,
    RefusedByGate,
    StoreError,
)
from rayology.serving.predictor import Predictor
from rayology.store import CHAMPION, Canary, Store

__all__ = ["Versions"]

logger = logging.getLogger(__name__)

POLL_S = 2.0  # between two looks at the store
MOST_HELD = 4  # versions in memory: champion, canary and others that were the champion or that requests named
MOST_WAITING = 4  # versions to be loaded because a request named them


class Versions:
    """Hold a store's champion, its canary, and a few versions that requests name.

    A version is loaded while others answer and takes over once it can. One that cannot be served leaves the one before
    it in place. A request keeps the version that it began with.

    Args:
        store: where the versions are.
        name: the model.
        load: function that makes a predictor of a version; raises RayologyError.
        wanted: the version to serve; ``champion`` follows the store's pointer, and lets a canary have its share.
        on_look: called with this after each look at the store.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        load: Callable[[str], Predictor],
        *,
        wanted: str = CHAMPION,
        on_look: Callable[["Versions"], None] = lambda _: None,
    ) -> None:
        self._store, self._name, self._load, self._wanted, self._on_look = store, name, load, wanted, on_look
        self._loader = ThreadPoolExecutor(1, "loader")  # one version at a time, whoever needs it
        self._changing = threading.Lock()
        self._loading: dict[str, Future[Predictor]] = {}
        self._held: dict[str, Predictor] = {}  # what was needed longest ago comes first
        self._canary: Canary | None = None
        self._damaged: dict[str, str] = {}  # why, of what the store names
        self._refused: dict[str, str] = {}  # why gates refuse what was once named
        self._complaints: tuple[str, ...] = ()
        self._is_closed = threading.Event()
        self._named, self._serving = set[str](), set[str]()
        self._champion = self._begin()
        self._serving = {self._champion.card.version}
        self.look()

    @property
    def champion(self) -> Predictor:
        """The version that answers who names none."""
        return self._champion

    @property
    def complaints(self) -> tuple[str, ...]:
        """What this replica does not serve although the store names it; the log says why."""
        return self._complaints

    @property
    def num_batches(self) -> float:
        """Batches that wait or are computed, of all versions that are held."""
        with self._changing:
            return sum(predictor.num_batches for predictor in self._held.values())

    @property
    def num_waiting(self) -> int:
        """Images that wait, of all versions that are held."""
        with self._changing:
            return sum(predictor.num_waiting for predictor in self._held.values())

    def tell(self) -> None:
        """Tell ``on_look`` how things stand."""
        self._on_look(self)

    def chosen(self, request_id: str) -> Predictor:
        """Return the canary for its share of the requests, else the champion; an id gets the same one of the two."""
        canary = self._canary
        if canary and zlib.crc32(request_id.encode()) < canary.share * 2**32:
            return self.held(canary.version) or self._champion
        return self._champion

    def held(self, version: str) -> Predictor | None:
        """Return a version if it is in memory."""
        with self._changing:
            if found := self._held.pop(version, None):
                self._held[version] = found
            return found

    def asked_for(self, version: str) -> Future[Predictor]:
        """Begin to load a version that a request names.

        Raises:
            StoreError: there is none of that name, the store cannot be reached, or it is known that a gate refuses it.
            BusyError: others are to be loaded first.
        """
        self._store.require(self._name, version)
        if fault := self._refused.get(version):
            raise RefusedByGate(f"{version}: is not served: {fault}", fault=fault)
        if version not in self._loading and len(self._loading) >= MOST_WAITING:
            raise BusyError("other versions are being loaded: try again", retry_after_s=POLL_S)
        return self._loaded(version)

    def follow(self) -> None:
        """Look at the store again and again, from a thread of its own, until closed."""
        threading.Thread(target=self._follow, name="versions", daemon=True).start()

    def close(self) -> None:
        """Follow the store no longer."""
        self._is_closed.set()
        self._loader.shutdown(wait=False, cancel_futures=True)

    def look(self) -> None:
        """Take up what the store names now."""
        complaints, champion = list[str](), self._champion.card.version
        try:
            champion = self._store.pin(self._name, self._wanted)
        except StoreError as error:
            complaints.append(self._complaint("the champion cannot be read from the store", error))
        canary = self._canary
        try:
            canary = self._store.canary(self._name) if self._wanted == CHAMPION else None
        except StoreError as error:
            complaints.append(self._complaint("the canary cannot be read from the store", error))
        self._named = {champion, *([canary.version] if canary else [])}
        self._damaged = {version: why for version, why in self._damaged.items() if version in self._named}
        complaints += [complaint for version in self._named if (complaint := self._obstacle(version))]
        before, self._champion = self._champion, self.held(champion) or self._champion
        self._canary = canary if canary and self.held(canary.version) else None
        self._complaints = tuple(complaints)
        self._serving = {self._champion.card.version}
        self.tell()
        if before is not self._champion:
            logger.info("%s: %s answers, in place of %s.", self._name, champion, before.card.version)

    def _obstacle(self, version: str) -> str:
        """Load a version that the store names; return what operators are told if it cannot be, or is held alone."""
        if why := self._damaged.get(version) or self._refused.get(version):
            return f"{version} cannot be served: {why}"
        if self.held(version):
            return self._absence(version)
        try:
            self._loaded(version).result()
        except RayologyError as error:
            if isinstance(error, BundleError | ConfigError):  # anything else may pass
                self._damaged[version] = _why(error)
            return self._complaint(f"{version} cannot be served: {_why(error)}", error)
        return ""

    def _absence(self, version: str) -> str:
        """Say if a version that is held is not in the store, where none that starts later would find it."""
        try:
            self._store.require(self._name, version)
        except MissingVersion as error:
            return self._complaint(f"{version} is no longer in the store: name another, or restore it", error)
        except StoreError:  # it cannot be reached, which says nothing of one version
            pass
        return ""

    def _begin(self) -> Predictor:
        """Load what is wanted or, if the champion cannot be served, the one before it, as older replicas do.

        Raises:
            RayologyError: none can be served; says why the first cannot.
        """
        wanted = self._store.pin(self._name, self._wanted)
        self._named = {wanted}
        try:
            return self._loaded(wanted).result()
        except (BundleError, MissingVersion, RefusedByGate) as error:
            if isinstance(error, BundleError):
                self._damaged[wanted] = _why(error)
            logger.error("%s: %s cannot be served: %s", self._name, wanted, error)  # noqa: TRY400 - it says all
            before = dict.fromkeys(self._store.champions(self._name)) if self._wanted == CHAMPION else {}
            for version in [version for version in before if version != wanted][:MOST_HELD]:
                with suppress(BundleError, StoreError):
                    return self._loaded(version).result()
            raise

    def _follow(self) -> None:
        while not self._is_closed.wait(POLL_S):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - what went wrong once must not stop what comes later
                self._complaints = (self._complaint("the store cannot be followed", error),)

    def _loaded(self, version: str) -> Future[Predictor]:
        """Load a version in the loader's thread, once however many ask."""
        with self._changing:
            if version in self._held:
                ready = Future[Predictor]()
                ready.set_result(self._held[version])
                return ready
            if version not in self._loading:
                self._loading[version] = self._loader.submit(self._take_up, version)
            return self._loading[version]

    def _take_up(self, version: str) -> Predictor:
        """Load a version in place of the one that nobody names and that was needed longest ago."""
        try:
            with self._changing:
                others = [each for each in self._held if each not in self._named | self._serving]
                for dropped in others[: max(0, len(self._held) + 1 - MOST_HELD)]:
                    del self._held[dropped]
            loaded = self._read(version)
            with self._changing:
                self._held[version] = loaded
            return loaded
        finally:
            with self._changing:
                del self._loading[version]

    def _read(self, version: str) -> Predictor:
        """Load a version; remember one that a gate refuses, and log it once."""
        try:
            return self._load(version)
        except RefusedByGate as error:
            self._refused[version] = error.fault
            if version not in self._named:  # of those that the store names a complaint says why
                logger.error("%s: %s is not served: %s", self._name, version, error)  # noqa: TRY400 - it says all
            raise

    def _complaint(self, what: str, error: Exception) -> str:
        """Return what operators are told, and log why the first time."""
        if what not in self._complaints:
            logger.error("%s: %s, and what was served goes on: %s", self._name, what, error)
        return what


def _why(error: RayologyError) -> str:
    """Say what is wrong with a version in words that name no place."""
    match error:
        case RefusedByGate():
            return error.fault
        case MissingVersion():
            return "it is not in the store"
        case BundleError():
            return "it is damaged or foreign"
        case ConfigError():
            return "it does not fit the server's arguments"
        case _:
            return "the store cannot be read"
