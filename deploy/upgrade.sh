#!/bin/sh
# Replaces the workers of docker-compose.yml one after the other, by ones of the newest image: nothing is lost meanwhile.
#
#   docker compose build && deploy/upgrade.sh
#
# Each time one more worker starts, and takes clients; then an old one sends its clients away, and ends. A new one that ends,
# or does not get ready in a minute, is taken away again, and the old ones that are left stay.
set -eu
cd "$(dirname "$0")/.."

# What has ended, or ends again and again, is of no use; compose would start it once more, of the image that it had.
all=$(docker compose ps --all --quiet worker)
for worker in $all; do
    case $(docker inspect --format '{{.State.Status}}' "$worker") in
        running | paused) ;;
        *) docker rm --force "$worker" >/dev/null && echo "removed $(printf %.12s "$worker"), which did not run" ;;
    esac
done
old=$(docker compose ps --quiet worker)
count=$(printf '%s\n' "$old" | grep -c .) || { echo "upgrade: no worker runs; docker compose up starts some" >&2; exit 1; }

scale() { # NUMBER
    docker compose up --detach --no-deps --no-recreate --scale "worker=$1" worker
}

ready() { # CONTAINER
    for _ in $(seq 60); do
        case $(docker inspect --format '{{.State.Health.Status}} {{.RestartCount}}' "$1") in
            "healthy "*) return ;;
            *" 0") sleep 1 ;;
            *) return 1 ;; # it ended, and Docker started it again
        esac
    done
    return 1
}

for worker in $old; do
    known=$(docker compose ps --all --quiet worker)
    scale $((count + 1))
    new=$(docker compose ps --all --quiet worker | grep -vxF "$known")
    if ! ready "$new"; then
        docker logs --tail 5 "$new" >&2
        docker stop "$new" >/dev/null
        docker rm "$new" >/dev/null
        echo "upgrade: the new worker does not get ready (its last words are above), and is gone; those not replaced yet stay" >&2
        exit 1
    fi
    docker stop "$worker" >/dev/null
    docker rm "$worker" >/dev/null
    echo "replaced $(printf %.12s "$worker")"
done
# In place of those that did not run.
scale "$(printf '%s\n' "$all" | grep -c .)"
