"""The members of a page's room: once Redis is back, the page is told of the joins and leaves that it has missed."""

from collections.abc import Mapping, Sequence
from typing import Final

from relay.gateways.socketio.apps.signalmaster.packets import PageEvent, remove
from relay.gateways.socketio.apps.signalmaster.resources import Resources, read_resources
from relay.model.events import PresenceChange, Roster

MOST: Final = 100
"""Members that are remembered; a page calls each of them, and no page calls so many."""


class KnownMembers:
    """The members of one room that have resources, from the moment in which the page enters it.

    Changes may come ahead of the list of the welcome, which is older.
    """

    __slots__ = ("_left", "_screens")

    def __init__(self) -> None:
        # Whether each member shares its screen.
        self._screens: dict[str, bool] = {}
        self._left: set[str] | None = set()

    def begin(self, members: Mapping[str, Resources]) -> Mapping[str, Resources]:
        """Note the members of the welcome; return those that have not left meanwhile."""
        left, self._left = self._left or set(), None
        present = {peer: resources for peer, resources in members.items() if peer not in left}
        for peer, resources in present.items():
            if peer not in self._screens:
                self._note(peer, resources)
        return present

    def change(self, change: PresenceChange) -> Sequence[PageEvent]:
        """Note a change; return the events of screens that are shared no more. That members left is told elsewhere."""
        before = dict(self._screens) if change.changed else {}
        for peer in change.left:
            self._screens.pop(peer, None)
        if self._left is not None:
            self._left.update(change.left)
        for peer, info in change.info.items():
            self._note(peer, read_resources(info))
        return self._hidden_since(before)

    def compare(self, roster: Roster) -> Sequence[PageEvent]:
        """Note the list of members that comes after a loss; return the events that the page has missed.

        A list that is not complete says nothing of the members that it does not name.
        """
        if len(roster.members) < roster.count:
            return ()
        before, self._screens = self._screens, {}
        for one in roster.members:
            self._note(one.peer, read_resources(one.info))
        gone = [remove(peer) for peer in before if peer not in self._screens]
        return [*gone, *self._hidden_since(before)]

    def _hidden_since(self, before: Mapping[str, bool]) -> Sequence[PageEvent]:
        return [
            remove(peer, "screen") for peer, shared in before.items() if shared and self._screens.get(peer) is False
        ]

    def _note(self, peer: str, resources: Resources | None) -> None:
        if resources is not None and (peer in self._screens or len(self._screens) < MOST):
            self._screens[peer] = resources.screen
