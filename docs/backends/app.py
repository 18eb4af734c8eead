"""Makes tokens for the users of a site. Start it with `AUTH_SECRET=… flask run`; its pages fetch /token."""

import os
import time

import jwt
from flask import Flask, abort, request

app = Flask(__name__)
USERS = {"of-alice": "alice", "of-bob": "bob"}  # your logins: session → user


@app.get("/token")
def token() -> tuple[str, dict[str, str]]:
    """Return a token for the user whose session the cookie names."""
    user = USERS.get(request.cookies.get("session", "")) or abort(401)
    rooms = [{"room": "demo", "can": ["join", "publish", "presence"]}]
    claims = {"sub": user, "exp": int(time.time()) + 3600, "rooms": rooms}
    return jwt.encode(claims, os.environ["AUTH_SECRET"], "HS256"), {"Cache-Control": "no-store"}
