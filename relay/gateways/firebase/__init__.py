"""The gateway for the Firebase Realtime Database, as far as signaling uses it.

A page connects with `new Firebase(url)` (firebase 2), or with `getDatabase` of today's SDK, whose `databaseURL` names
the relay. The first key of a path is a room by default, and the rest is a path in the tree of the room. A page that
writes, or that listens for longer than a moment, is a member of the room. A child that was not there before is a
message for members of other protocols, and their messages are children for a page.
"""
