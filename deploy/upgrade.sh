#!/bin/sh
# Replaces the workers of docker-compose.yml one after the other, by ones of the newest image: nothing is lost meanwhile.
#
#   docker compose build && deploy/upgrade.sh
#
# Each time one more worker starts, and takes clients; then an old one sends its clients away, and ends.
set -eu
cd "$(dirname "$0")/.."
old=$(docker compose ps --quiet worker)
count=$(printf '%s\n' "$old" | grep -c .) || { echo "upgrade: no worker runs; docker compose up starts some" >&2; exit 1; }
for worker in $old; do
    docker compose up --detach --wait --no-deps --no-recreate --scale "worker=$((count + 1))" worker
    docker stop "$worker" >/dev/null
    docker rm "$worker" >/dev/null
    echo "replaced $(printf %.12s "$worker")"
done
