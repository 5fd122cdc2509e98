"""What one configured provider knows: its settings, its cluster, whether that answers, and the scope of kinds."""

from __future__ import annotations

import threading

from engine.provider import Call, ProviderError
from engine.providers.kubernetes import kinds
from engine.providers.kubernetes.apply import Writer
from engine.providers.kubernetes.client import ApiError, Client, UnreachableError
from engine.providers.kubernetes.objects import Object, pluck
from engine.providers.kubernetes.settings import Settings, locate


class Session:
    """Safe for threads. Nothing here touches the network before it is asked to."""

    def __init__(self, settings: Settings):
        target = locate(settings)
        self.settings = settings
        self.namespace = target.namespace
        """For namespaced objects that name none."""
        self.writer = Writer(Client(settings, target), settings, target.namespace)
        self._unreachable: str | None = target.error or None
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._own_scopes: dict[tuple[str, str], bool] = {}

    @property
    def server_side(self) -> bool:
        return self.settings.flag("enableServerSideApply")

    @property
    def rendering(self) -> bool:
        return bool(self.settings.render_directory)

    def why_unreachable(self) -> str:
        """ "" when the cluster answers; asked once a run."""
        with self._lock:
            if self._unreachable is None:
                try:
                    self.writer.client.server_version()
                    self._unreachable = ""
                except (UnreachableError, ApiError) as error:
                    self._unreachable = str(error)
            return self._unreachable

    def need_cluster(self) -> None:
        if reason := self.why_unreachable():
            raise ProviderError(f"configured Kubernetes cluster is unreachable: {reason}")

    def warn_unreachable(self, call: Call) -> None:
        self.warn_once(call, f"configured Kubernetes cluster is unreachable: {self.why_unreachable()}")

    def warn_once(self, call: Call, message: str) -> None:
        """A warning that is the same for every resource: said for the first one only."""
        with self._lock:
            known = message in self._warned
            self._warned.add(message)
        if not known:
            call.log("warning", message, False)

    def serves(self, obj: Object) -> bool:
        """Whether the cluster answers and has the object's kind (not yet, if its definition is still to be made)."""
        if self.why_unreachable():
            return False
        try:
            self.writer.resource(obj)
        except ProviderError:
            return False
        return True

    def is_namespaced(self, kind: kinds.Kind) -> bool:
        """Scope of a kind. One that nobody knows yet is taken for namespaced; creation corrects it."""
        known = kinds.is_namespaced(kind)
        if known is None:
            known = self._own_scopes.get((kind.group, kind.kind))
        if known is None and not self.rendering and not self.why_unreachable():
            try:
                known = self.writer.client.resource(kind).namespaced
            except ProviderError:
                known = None
        return True if known is None else known

    def remember_scope(self, definition: Object) -> None:
        """Notes the scope of a kind that this program's CustomResourceDefinition defines, before the server knows it."""
        group, kind = pluck(definition, "spec", "group"), pluck(definition, "spec", "names", "kind")
        if isinstance(group, str) and isinstance(kind, str):
            self._own_scopes[(group, kind)] = pluck(definition, "spec", "scope") == "Namespaced"
