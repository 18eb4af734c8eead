#!/bin/sh
# Starts coturn with turnserver.conf, the secret that the workers have as well, and the values of this machine alone.
#
# EXTERNAL_IP is the machine's public address, or PUBLIC/PRIVATE, if it is behind NAT. ALLOWED_PEERS are addresses that
# clients may reach although turnserver.conf denies them, with spaces between. CERTIFICATE is a PEM file with certificate,
# chain and private key: with it, coturn also serves TLS, on port TLS_PORT.
set -eu
umask 077
# A file and not arguments: every user of the machine sees those.
{
    cat /etc/turn/turnserver.conf
    printf 'static-auth-secret=%s\n' "$(cat /run/relay/turn_secret)"
    [ -z "${EXTERNAL_IP:-}" ] || printf 'external-ip=%s\n' "$EXTERNAL_IP"
    for peer in ${ALLOWED_PEERS:-}; do printf 'allowed-peer-ip=%s\n' "$peer"; done
    if [ "${CERTIFICATE:-}" ]; then
        printf 'cert=%s\npkey=%s\ntls-listening-port=%s\n' "$CERTIFICATE" "$CERTIFICATE" "${TLS_PORT:-5349}"
    else
        echo no-tls
    fi
} > /tmp/turnserver.conf
exec turnserver -c /tmp/turnserver.conf
