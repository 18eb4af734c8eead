#!/bin/sh
# Replaces the workers of docker-compose.yml one after the other with workers of the newest image; no message is lost.
#
#   docker compose build && deploy/upgrade.sh
#
# For each worker, the script starts a new one and then stops an old one, whose clients reconnect to the others. If a new
# worker ends, or is not ready within a minute, the script removes it and keeps the old workers that are left.
set -eu
cd "$(dirname "$0")/.."

# Compose keeps a network that exists, also where its files give the network another address range. New workers would then take
# the load balancer's address for that of all clients, or not reach each other. (Workers are not on the network "nodes".)
docker compose config | awk '
    /^[^ ]/ { networks = $1 == "networks:" }
    networks && /^  [^ ]/ { sub(":", "", $1); network = $1 }
    networks && $1 == "-" && $2 == "subnet:" && network != "nodes" { range[network] = $3 }
    networks && $1 == "name:" { names[network] = $2 }
    END { for (network in range) print network, names[network], range[network] }
' | while read -r network name range; do
    there=$(docker network inspect --format '{{range .IPAM.Config}}{{.Subnet}} {{end}}' "$name" 2>/dev/null) || continue
    case " $there" in *" $range "*) continue ;; esac
    echo "upgrade: the network $name has the address range ${there% } instead of $range, and nothing was replaced. Put" \
        "RELAY_$(printf %s "$network" | tr '[:lower:]' '[:upper:]')_SUBNET=${there% } into .env and run this again" >&2
    exit 1
done

# Remove workers that have ended or keep restarting: compose would start them again with their old image.
all=$(docker compose ps --all --quiet worker)
for worker in $all; do
    case $(docker inspect --format '{{.State.Status}}' "$worker") in
        running | paused) ;;
        *) docker rm --force "$worker" >/dev/null && echo "removed $(printf %.12s "$worker"), which was not running" ;;
    esac
done
old=$(docker compose ps --quiet worker)
count=$(printf '%s\n' "$old" | grep -c .) || { echo "upgrade: no worker is running; start some with docker compose up" >&2; exit 1; }

# The new version may need a secret that the old one did not have, and may send Redis other commands. Secrets that exist stay
# as they are. Redis may drop the workers' connections when it loads the rules; they connect again at once.
docker compose run --rm --no-deps secrets >/dev/null
for redis in $(docker compose ps --services --status running | grep -E '^redis(-[0-9]+)?$'); do
    docker compose exec -T "$redis" sh -c 'REDISCLI_AUTH="$(cat /run/relay/operator_password)" redis-cli --user operator acl load' >/dev/null
done

scale() { # NUMBER
    docker compose up --detach --no-deps --no-recreate --scale "worker=$1" worker
}

ready() { # CONTAINER
    for _ in $(seq 60); do
        case $(docker inspect --format '{{.State.Health.Status}} {{.RestartCount}}' "$1") in
            "healthy "*) return ;;
            *" 0") sleep 1 ;;
            *) return 1 ;; # it ended, and Docker restarted it
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
        echo "upgrade: the new worker did not become ready (see its log above) and was removed; workers not replaced yet stay" >&2
        exit 1
    fi
    docker stop "$worker" >/dev/null
    docker rm "$worker" >/dev/null
    echo "replaced $(printf %.12s "$worker")"
done
# Start new workers for those that were not running.
scale "$(printf '%s\n' "$all" | grep -c .)"
