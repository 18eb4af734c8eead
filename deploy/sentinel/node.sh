#!/bin/sh
# Starts one Redis of a set, with redis.conf: at its first start as the master or as a replica of it, later in the part that the
# sentinels have given it. NODE is its name, MASTER that of the first master.
set -eu

DATA=${DATA:-/data} SECRETS=${SECRETS:-/run/relay} BASE=${BASE:-/etc/redis.conf} PORT=${PORT:-6379}
umask 077

# Written anew at each start, as passwords may have changed. A master that has lost its replicas refuses writes, so that one
# which the others have replaced takes none; all masters refuse them until a replica follows.
cat > "$DATA/set.conf" <<END
include $BASE
replica-announce-ip $NODE
masteruser replica
masterauth $(cat "$SECRETS/replica_password")
min-replicas-to-write 1
min-replicas-max-lag 10
END

# Redis adds its part to this file when the sentinels change it.
if [ ! -e "$DATA/node.conf" ]; then
    { echo "include $DATA/set.conf"; [ "$NODE" = "$MASTER" ] || echo "replicaof $MASTER $PORT"; } > "$DATA/node.conf.new"
    mv "$DATA/node.conf.new" "$DATA/node.conf"
fi
exec redis-server "$DATA/node.conf" "$@"
