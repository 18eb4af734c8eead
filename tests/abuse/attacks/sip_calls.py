"""Calls of SIP that multiply: each goes to eight devices of one user, which answer with further messages."""

import asyncio
import itertools

from tests.abuse.attack import Attack
from tests.abuse.attacks.sip_registrations import register
from tests.abuse.target import Target, all_of, frame

_DEVICES, _CALLERS = 8, 12
_HEADERS = "Sec-WebSocket-Protocol: sip\r\n"
_ROOM = "/rooms/calls"
_BODY = "x" * 8_000


def _invite(caller: str, number: int) -> str:
    lines = (
        "INVITE sip:callee@localhost SIP/2.0", f"Via: SIP/2.0/WS y.invalid;branch=z9hG4bK{number}", "Max-Forwards: 70",
        f"From: <sip:{caller}@localhost>;tag=1", "To: <sip:callee@localhost>", f"Call-ID: {caller}-{number}",
        "CSeq: 1 INVITE", f"Contact: <sip:{caller}@y.invalid;transport=ws>", f"Content-Length: {len(_BODY)}", "", _BODY,
    )  # fmt: skip
    return "\r\n".join(lines)


def _ringing(invite: bytes) -> str:
    """The answer 180 to a request, with a tag."""
    head = invite.partition(b"\r\n\r\n")[0].decode(errors="replace").split("\r\n")[1:]
    copied = [line for line in head if line.lower().startswith(("via:", "from:", "call-id:", "cseq:"))]
    return "\r\n".join(
        ["SIP/2.0 180 Ringing", *copied, "To: <sip:callee@localhost>;tag=2", "Content-Length: 0", "", ""]
    )


async def _be_called(target: Target, device: int) -> None:
    """Register a device, and answer each call ten times."""
    reader, writer = await target.websocket(_ROOM, headers=_HEADERS, greeted=False)
    await target.write(writer, frame(register("callee", device + 1, 600)))
    while True:
        _, payload = await target.read_frame(reader)
        if payload.startswith(b"INVITE "):
            await target.write(writer, frame(_ringing(payload)) * 10)


async def _call(target: Target, caller: int) -> None:
    reader, writer = await target.websocket(_ROOM, headers=_HEADERS, greeted=False)
    reading = asyncio.create_task(target.read_all(reader))
    try:
        await target.write(writer, frame(register(f"caller{caller}", caller + 100, 600)))
        for number in itertools.count():
            if reading.done():
                return
            await target.write(writer, frame(_invite(f"caller{caller}", number)))
    finally:
        reading.cancel()
        writer.transport.abort()


async def run(target: Target) -> None:
    devices = [_be_called(target, device) for device in range(_DEVICES)]
    await all_of(*devices, *(_call(target, caller) for caller in range(_CALLERS)))


ATTACK = Attack(
    name="sip-calls",
    says="SIP calls of 8 KB without a pause to a user with eight devices, each of which answers ten times.",
    run=run,
)
