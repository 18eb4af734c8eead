#!/bin/sh
# Starts coturn with turnserver.conf, the secret that the workers have as well, and what is true of this machine alone.
#
# EXTERNAL_IP is the machine's public address, or PUBLIC/PRIVATE, if it is behind NAT. ALLOWED_PEERS are addresses that
# clients may reach although turnserver.conf denies them, with spaces between.
set -eu
umask 077
# A file and not arguments: every user of the machine sees those.
{
    cat /etc/turn/turnserver.conf
    printf 'static-auth-secret=%s\n' "$(cat /run/relay/turn_secret)"
    [ -z "${EXTERNAL_IP:-}" ] || printf 'external-ip=%s\n' "$EXTERNAL_IP"
    for peer in ${ALLOWED_PEERS:-}; do printf 'allowed-peer-ip=%s\n' "$peer"; done
} > /tmp/turnserver.conf
exec turnserver -c /tmp/turnserver.conf
