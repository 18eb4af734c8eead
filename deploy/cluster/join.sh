#!/bin/sh
# Makes one cluster of the nodes in NODES, and ends. The first of them, MASTERS, get the slots; each of the others becomes a
# replica of the master that has fewest. Later runs change nothing, unless a node has lost its folder: it becomes a replica.
set -eu

SECRETS=${SECRETS:-/run/relay} PORT=${PORT:-6379} PATIENCE=${PATIENCE:-60}
SLOTS=16384
REDISCLI_AUTH=$(cat "$SECRETS/cluster_password")
export REDISCLI_AUTH

say() { echo "cluster: $*"; }
ask() { # NODE COMMAND...: an error of Redis ends this script.
    node=$1
    shift
    redis-cli -e -h "$node" -p "$PORT" --user cluster cluster "$@"
}
assigned() { ask "$1" info | sed -n 's/^cluster_slots_assigned:\([0-9]*\).*/\1/p'; }
most_assigned() { for node in $there; do assigned "$node"; done | sort -n | tail -n 1; }
within() { # CONDITION...: wait until it holds, for PATIENCE seconds.
    end=$(($(date +%s) + PATIENCE))
    until "$@"; do
        [ "$(date +%s)" -lt "$end" ] || { say "not in time: $*" >&2; exit 1; }
        sleep 0.5
    done
}

# The nodes that answer. A cluster that exists does not need them all.
answers() { ask "$1" myid >/dev/null 2>&1; }
all_answer() { for node in $NODES; do answers "$node" || return 1; done; }
(within all_answer) || say "some nodes do not answer"
there=$(for node in $NODES; do ! answers "$node" || echo "$node"; done)
first=${there%%[[:space:]]*}
[ "$there" = "$(printf '%s\n' $NODES)" ] || [ "$(most_assigned)" = $SLOTS ] || { say "a new cluster needs all nodes" >&2; exit 1; }

# Have all nodes know each other.
count=$(printf '%s\n' "$there" | wc -l)
connected() { for node in $there; do [ "$(ask "$node" nodes | grep -c ' connected')" -ge "$count" ] || return 1; done; }
address() { # NODE: which may be an address
    found=$(getent hosts "$1" | cut -d ' ' -f 1)
    printf %s "${found:-$1}"
}
introduce() {
    connected && return
    for node in $there; do ask "$first" meet "$(address "$node")" "$PORT" >/dev/null; done
    return 1
}
within introduce

# Give the masters equal shares of the slots, once.
if [ "$(most_assigned)" != $SLOTS ]; then
    number=0
    for node in $(printf '%s\n' $NODES | head -n "$MASTERS"); do
        # A run before may have ended half way.
        if ! ask "$node" nodes | grep myself | grep -q ' connected .'; then
            ask "$node" addslotsrange $((SLOTS * number / MASTERS)) $((SLOTS * (number + 1) / MASTERS - 1)) >/dev/null
        fi
        number=$((number + 1))
    done
    say "the slots are given to $MASTERS masters"
fi
agreed() { for node in $there; do [ "$(assigned "$node")" = $SLOTS ] || return 1; done; }
within agreed

# Nodes without slots and without a master become replicas.
fewest() { # NODE: the id of the living master, as this node knows, that has fewest replicas.
    ask "$1" nodes | awk '
        $3 !~ /fail|noaddr/ && $3 ~ /master/ && NF > 8 { living[$1] }
        $3 !~ /fail|noaddr/ && $3 ~ /slave/ { replicas[$4]++ }
        END { for (id in living) print replicas[id] + 0, id }' | sort -n | head -n 1 | cut -d ' ' -f 2
}
is_replica() { for node in $there; do ask "$node" nodes | grep "^$1 " | grep -q slave || return 1; done; }
for replica in $there; do
    if ask "$replica" nodes | grep myself | grep -q 'master .* connected$'; then
        ask "$replica" replicate "$(fewest "$replica")" >/dev/null
        within is_replica "$(ask "$replica" myid)"
        say "$replica is a replica"
    fi
done

works() { ask "$first" info | grep -q cluster_state:ok; }
within works
say "complete"
