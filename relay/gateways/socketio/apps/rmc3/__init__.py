"""RTCMultiConnection 3: the events that its pages exchange with `rtcmulticonnection-server`.

Such a page connects first, asks whether a room exists, and then opens or joins it. Its signals have receivers; its
custom events go to the room, and are the bridge to clients of other protocols.

`application` recognises the clients, and `client` serves one of them. Events of the page go to `requests` and
`signaling`, which read them with `arguments`; events of its room go to `hearing`. `stay` opens, joins and leaves rooms,
`returning` finds the room in which a page was before its connection was lost, and `lookups` answers questions about
other rooms. `broadcasting` has the trees of scalable broadcasts.
"""
