"""XHR-Signaling: pages that post envelopes to `/Home/PostData`, and ask `/Home/GetData` for one message at a time.

It is the contract of pages that were written for a PHP or ASP.NET script over a database. A request says nothing of its
client, so `places` finds the place that it belongs to: by the address, by a cookie, or by the client's address in the
network. `form` reads the forms, `codec` writes messages as rows, `readers` are the pages of one place, `session` is
their session, and `gateway` serves the requests.
"""
