"""The certificate of the listeners, which is read again when its files have changed."""

import logging
import ssl

from relay.config import Settings
from relay.process.server import BadCertificate, tls_context

log = logging.getLogger("relay.process.certificate")


class Certificate:
    """Gives each new connection the certificate that was read last; `context` is for the listeners."""

    def __init__(self, settings: Settings, context: ssl.SSLContext) -> None:
        self._settings = settings
        self._current = self.context = context
        # Called ahead of the answer to every handshake, also without a server name.
        context.sni_callback = self._choose

    def read_again(self) -> None:
        """Read the files again; raises `BadCertificate`, and the former certificate stays in use."""
        context = tls_context(self._settings)
        if context is not None:
            self._current = context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        if self._current is not context:
            connection.context = self._current


def certificate_of(settings: Settings) -> Certificate | None:
    """Read the certificate of the settings, None without one; raises `BadCertificate`."""
    context = tls_context(settings)
    return None if context is None else Certificate(settings, context)


def reload_certificate(certificate: Certificate | None) -> bool:
    """Read the certificate again, as SIGHUP asks for, and log the outcome; return whether it could be used."""
    if certificate is None:
        log.warning("SIGHUP: there is no certificate to read again; restart the relay to change settings")
        return False
    try:
        certificate.read_again()
    except BadCertificate as error:
        log.error("SIGHUP: the relay keeps its certificate, as the new one cannot be used: %s", error)
        return False
    log.info("SIGHUP: the certificate was read again, for new connections; restart the relay to change settings")
    return True
