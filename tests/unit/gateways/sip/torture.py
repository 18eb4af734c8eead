# ruff: noqa: E501 - a message in one line is easier to compare with the RFC
"""The torture tests of RFC 4475, as far as they are about the form of messages; each is named as there.

GOOD: the message is read, and kept byte for byte. BAD: it is answered with 400. NOT_SIP: nobody can answer it.
`ANSWERS` has the answer of the relay to each, from a client that has registered the user in the From.
"""

from enum import Enum, auto
from typing import NamedTuple


class Expected(Enum):
    """The end of a message."""

    GOOD = auto()
    BAD = auto()
    NOT_SIP = auto()


class Torture(NamedTuple):
    """A message."""

    name: str
    expected: Expected
    text: str

    @property
    def data(self) -> bytes:
        """The bytes of the message."""
        return self.text.encode("utf-8", "surrogateescape")


def _lines(*lines: str, body: str = "") -> str:
    return "\r\n".join(lines) + "\r\n\r\n" + body


def _usual(name: str, first: str = "OPTIONS sip:user@example.com SIP/2.0", **changed: str | None) -> str:
    """A usual request, some of whose fields are changed; None drops one."""
    fields: dict[str, str | None] = {
        "Via": "SIP/2.0/UDP host.example.com;branch=z9hG4bKkdjuw",
        "Max-Forwards": "70",
        "From": "<sip:caller@example.net>;tag=323",
        "To": "<sip:caller@example.net>" if first.startswith("REGISTER") else "<sip:user@example.com>",
        "Call-ID": f"{name}.dkei38sd",
        "CSeq": "4 " + first.partition(" ")[0],
        "Content-Length": "0",
    }
    fields |= {key.replace("_", "-"): value for key, value in changed.items()}
    return _lines(first, *(f"{key}: {value}" for key, value in fields.items() if value is not None))


_SDP = "v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\nm=audio 49217 RTP/AVP 0 12\r\n"

_WSINV = _lines(
    "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0",
    "TO :",
    " sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
    'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>',
    "  ;",
    "  tag = 98asjd8",
    "MaX-fOrWaRdS: 0068",
    "Call-ID: wsinv.ndaksdj@192.0.2.1",
    f"Content-Length   : {len(_SDP)}",
    "cseq: 0009",
    "  INVITE",
    "Via  : SIP  /   2.0",
    " /UDP",
    "    192.0.2.2;branch=390skdjuw",
    "s :",
    "NewFangledHeader:   newfangled value",
    " continued newfangled value",
    "UnknownHeaderWithUnusualValue: ;;,,;;,;",
    "Content-Type: application/sdp",
    "Route:",
    " <sip:services.example.com;lr;unknownwith=value;unknown-no-value>",
    "v:  SIP  / 2.0  / TCP     spindle.example.com   ;",
    "  branch  =   z9hG4bK9ikj8  ,",
    " SIP  /    2.0   / UDP  192.168.255.111   ; branch=",
    " z9hG4bK30239",
    'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =',
    "      newvalue ;",
    "  secondparam ; q = 0.33",
    body=_SDP,
)

_METHOD = "!interesting-Method0123456789_*+`.%indeed'~"
_INTMETH = _lines(
    f"{_METHOD} sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0",
    "Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~",
    'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)&isn\'t+it$/crazy?,/;;*@example.com>',
    "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"работающий\";tag=_token~1'+`*%!-.",
    "Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
    f"CSeq: 139122385 {_METHOD}",
    "Max-Forwards: 255",
    "extensionHeader-!.%*+_`'~: ﻿大停電",
    "Content-Length: 0",
)

_LONG = _usual("longreq", first="INVITE sip:user@example.com SIP/2.0") .replace(
    "Via:", "Unknown-" + "Long" * 20 + "-Name: " + "unknown-value; " * 60 + "\r\nVia:", 1
)  # fmt: skip

GOOD, BAD, NOT_SIP = Expected.GOOD, Expected.BAD, Expected.NOT_SIP

MESSAGES = [
    # 3.1.1: valid messages.
    Torture("wsinv", GOOD, _WSINV),
    Torture("intmeth", GOOD, _INTMETH),
    Torture("esc01", GOOD, _usual("esc01", "INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0", To="sip:%75se%72@example.com")),
    Torture("escnull", GOOD, _usual("escnull", "REGISTER sip:example.com SIP/2.0", From="sip:null-%00-null@example.com;tag=8", To="sip:null-%00-null@example.com", Contact="<sip:%00@host5.example.com>")),
    Torture("esc02", GOOD, _usual("esc02", "RE%47IST%45R sip:registrar.example.com SIP/2.0", From='"%Z%45" <sip:resource@example.com>;tag=f232jadfj23')),
    Torture("lwsdisp", GOOD, _usual("lwsdisp", From="caller<sip:caller@example.com>;tag=323")),
    Torture("longreq", GOOD, _LONG),
    Torture("dblreq", GOOD, _usual("dblreq", "REGISTER sip:example.com SIP/2.0") + _usual("dblreq", "INVITE sip:joe@example.com SIP/2.0")),
    Torture("semiuri", GOOD, _usual("semiuri", "OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0")),
    Torture("transports", GOOD, _usual("transports", Via="SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw\r\nVia: SIP/2.0/UNKNOWN t5.example.com;branch=z9hG4bKasd0f3en")),
    Torture("unreason", GOOD, _usual("unreason", "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое", CSeq="35 INVITE")),
    Torture("noreason", GOOD, _usual("noreason", "SIP/2.0 100 ", CSeq="35 INVITE")),
    Torture("mpart01", GOOD, _usual("mpart01", "MESSAGE sip:kumiko@example.org SIP/2.0", Content_Length="8", Content_Type="multipart/mixed;boundary=7") + "--7\r\n\udcff\udcd8\udcff"),
    # 3.1.2: invalid messages.
    Torture("badinv01", BAD, _usual("badinv01", Via="SIP/2.0/UDP 192.0.2.15;;,;,,")),
    Torture("clerr", BAD, _usual("clerr", Content_Length="9999")),
    Torture("ncl", BAD, _usual("ncl", Content_Length="-999")),
    Torture("scalar02-cseq", BAD, _usual("scalar02", CSeq="36893488147419103232 OPTIONS")),
    Torture("scalar02-hops", BAD, _usual("scalar02", Max_Forwards="300")),
    Torture("scalarlg", BAD, _usual("scalarlg", "SIP/2.0 503 Service Unavailable", CSeq="9292394834772304023312 OPTIONS")),
    Torture("quotbal", BAD, _usual("quotbal", To='"Mr. J. User <sip:j.user@example.com>')),
    Torture("ltgtruri", BAD, _usual("ltgtruri", "INVITE <sip:user@example.com> SIP/2.0")),
    Torture("lwsruri", BAD, _usual("lwsruri", "INVITE sip:user@example.com; lr SIP/2.0")),
    Torture("lwsstart", BAD, _usual("lwsstart", "INVITE  sip:user@example.com  SIP/2.0")),
    Torture("trws", BAD, _usual("trws", "OPTIONS sip:remote-target@example.com SIP/2.0  ", CSeq="8 OPTIONS")),
    Torture("escruri", GOOD, _usual("escruri", "INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0")),
    Torture("baddate", GOOD, _usual("baddate", "INVITE sip:user@example.com SIP/2.0", Date="Fri, 01 Jan 2010 16:00:00 EST")),
    Torture("regbadct", GOOD, _usual("regbadct", "REGISTER sip:example.com SIP/2.0", Contact="sip:user@example.com?Route=%3Csip:sip.example.com%3E")),
    Torture("badaspec", GOOD, _usual("badaspec", To='"Watson, Thomas" <sip:t.watson@example.org>')),
    Torture("badaspec-spaces", BAD, _usual("badaspec", To='"Watson, Thomas" < sip:t.watson@example.org >')),
    Torture("baddn", BAD, _usual("baddn", From="Bell, Alexander <sip:a.g.bell@example.com>;tag=43")),
    Torture("badvers", GOOD, _usual("badvers", "OPTIONS sip:t.watson@example.org SIP/7.0")),
    Torture("mismatch01", BAD, _usual("mismatch01", CSeq="8 INVITE")),
    Torture("mismatch02", BAD, _usual("mismatch02", "NEWMETHOD sip:user@example.com SIP/2.0", CSeq="8 INVITE")),
    Torture("bigcode", NOT_SIP, _usual("bigcode", "SIP/2.0 4294967301 better not break the receiver")),
    # 3.2 and 3.3: transactions and applications.
    Torture("badbranch", GOOD, _usual("badbranch", Via="SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK")),
    Torture("insuf", BAD, _usual("insuf", "INVITE sip:user@example.com SIP/2.0", To=None, From=None, Call_ID=None)),
    Torture("unkscm", GOOD, _usual("unkscm", "OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0")),
    Torture("novelsc", GOOD, _usual("novelsc", "OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0")),
    Torture("unksm2", GOOD, _usual("unksm2", "REGISTER sip:example.com SIP/2.0", To="isbn:2983792873", From="<http://www.example.com>;tag=3")),
    Torture("bext01", GOOD, _usual("bext01", Require="nothingSupportsThis", Proxy_Require="noProxiesSupportThis")),
    Torture("invut", GOOD, _usual("invut", "INVITE sip:user@example.com SIP/2.0", Content_Type="application/unknownformat")),
    Torture("regaut01", GOOD, _usual("regaut01", "REGISTER sip:example.com SIP/2.0", Authorization="NoOneKnowsThisScheme opaque-data=here")),
    Torture("multi01-cseq", BAD, _usual("multi01", CSeq="5 OPTIONS\r\nCSeq: 59 OPTIONS")),
    Torture("multi01-to", BAD, _usual("multi01", To="<sip:a@x>\r\nt: <sip:b@x>")),
    Torture("mcl01", BAD, _usual("mcl01", Content_Length="0\r\nl: 14")),
    Torture("bcast", GOOD, _usual("bcast", "SIP/2.0 200 OK", CSeq="2 INVITE", Via="SIP/2.0/UDP 192.0.2.198;branch=z9\r\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9")),
    Torture("zeromf", GOOD, _usual("zeromf", Max_Forwards="0")),
    Torture("cparam01", GOOD, _usual("cparam01", "REGISTER sip:example.com SIP/2.0", Contact="sip:+19725552222@gw1.example.net;unknownparam")),
    Torture("cparam02", GOOD, _usual("cparam02", "REGISTER sip:example.com SIP/2.0", Contact="<sip:+19725552222@gw1.example.net;unknownparam>")),
    Torture("regescrt", GOOD, _usual("regescrt", "REGISTER sip:example.com SIP/2.0", Contact="<sip:user@example.com?Route=%3Csip:sip.example.com%3E>")),
    Torture("sdp01", GOOD, _usual("sdp01", "INVITE sip:user@example.com SIP/2.0", Accept="text/nobodyKnowsThis")),
    # 3.4: a client of RFC 2543.
    Torture("inv2543", GOOD, _usual("inv2543", "INVITE sip:UserB@example.com SIP/2.0", Via="SIP/2.0/UDP iftgw.example.com", From="<sip:caller@example.net>", Max_Forwards=None)),
]  # fmt: skip

_ANSWERS = {
    "200": "dblreq regaut01 cparam01 cparam02 regescrt",
    "400": "regbadct escnull unksm2",
    "405": "esc02",
    "415": "mpart01",
    "416": "unkscm novelsc",
    "420": "bext01",
    "483": "zeromf",
    "505": "badvers",
    "none, as it is a response": "unreason noreason scalarlg bcast",
}

_NAMED = {name: answer for answer, names in _ANSWERS.items() for name in names.split()}
_OTHERWISE = {
    Expected.GOOD: "404, as nobody has this user",
    Expected.BAD: "400",
    Expected.NOT_SIP: "none: the connection is closed",
}

ANSWERS = {one.name: _NAMED.get(one.name, _OTHERWISE[one.expected]) for one in MESSAGES}
"""Name of a message → the response that its sender gets, by the beginning of its status line."""
