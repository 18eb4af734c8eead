#!/bin/sh
# Starts one node of a Redis Cluster, with redis.conf. NODE is its name, by which workers reach it, and ADDRESS its address among
# the nodes, which stays the same. The node remembers the others in its folder.
set -eu

DATA=${DATA:-/data} SECRETS=${SECRETS:-/run/relay} BASE=${BASE:-/etc/redis.conf}
umask 077

password=$(cat "$SECRETS/replica_password")

# Written anew at each start, as passwords may have changed. One lost master stops the rooms of its slots alone. A master without
# a replica refuses writes, so that a failover loses none that a client was told of. A replica that needs all data gets them at
# once, and not after the five seconds in which Redis waits for further replicas.
cat > "$DATA/set.conf" <<END
include $BASE
# In place of the file that redis.conf names: workers need other commands here.
aclfile $SECRETS/cluster.acl
cluster-enabled yes
cluster-config-file $DATA/nodes.conf
cluster-node-timeout 5000
cluster-require-full-coverage no
cluster-announce-ip $ADDRESS
cluster-announce-hostname $NODE
cluster-preferred-endpoint-type hostname
masteruser replica
masterauth $password
min-replicas-to-write 1
min-replicas-max-lag 10
repl-diskless-sync-delay 0
END
exec redis-server "$DATA/set.conf" "$@"
