#!/bin/sh
# Makes the passwords of docker-compose.yml at the first start, in a volume; each file is readable by those that need it.
# With the argument "new" it replaces them; Redis and workers must be restarted then. Grafana stores its own password
# when it first starts, so that one stays.
set -eu

REDIS=10002 RELAY=10001 GRAFANA=472
cd /run/relay
chown "$REDIS:$RELAY" /data
[ "${1:-}" = new ] && rm -f redis.acl redis_password operator_password admin_token
[ -e redis.acl ] && exit

random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
hash() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
keep() { # NAME MODE OWNER < content
    umask 077
    cat > "$1"
    chmod "$2" "$1"
    chown "$3" "$1"
}

password=$(random) operator=$(random)
printf %s "$password" | keep redis_password 0440 "$REDIS:$RELAY"
printf %s "$operator" | keep operator_password 0400 "$REDIS:$REDIS"
random | keep admin_token 0400 "$RELAY:$RELAY"
[ -e grafana_password ] || random | keep grafana_password 0400 "$GRAFANA:$GRAFANA"
# The user relay is limited to the relay's keys and channels, and has no administrative commands. The user operator may do
# everything. The default user is off, so no client can log in as it; but Redis itself acts as that user when it loads its file,
# and would skip transactions if that user had no rights.
keep acl 0400 "$REDIS:$REDIS" <<END
user default off resetpass ~* &* +@all
user relay on #$(hash "$password") ~relay:* &relay:* +@all -@dangerous -@admin
user operator on #$(hash "$operator") ~* &* +@all
END
# Last: this file marks that all passwords exist.
mv acl redis.acl
