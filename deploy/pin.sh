#!/bin/sh
# Writes the digests of the base images into the Dockerfile and the compose files, so that later builds take the same content.
#
#   make pin
#
# For each image, the script asks its registry for the digest of the tag. NAME:TAG becomes NAME:TAG@sha256:DIGEST; a digest
# that is there already is replaced. Without an answer for one of them, no file changes.
set -eu
cd "$(dirname "$0")/.."
FILES="Dockerfile docker-compose.yml deploy/nginx/compose.yml"

images() {
    # signal-relay is built here, and has no registry.
    sed -nE 's/^(FROM| *image:) ([^ @]+)(@sha256:[0-9a-f]+)?( AS [a-z]+)?$/\2/p' $FILES | grep -v '^signal-relay' | sort -u
}

script=
for image in $(images); do
    digest=$(docker buildx imagetools inspect "$image" | sed -n 's/^Digest: *\(sha256:[0-9a-f]\{64\}\)$/\1/p')
    [ "$digest" ] || { echo "pin: the registry of $image does not tell its digest; nothing was changed" >&2; exit 1; }
    echo "$image $digest"
    pattern=$(printf %s "$image" | sed 's/[.]/\\./g')
    script="$script;s#((FROM|image:) $pattern)(@sha256:[0-9a-f]+)?( AS [a-z]+)?\$#\\1@$digest\\4#"
done
sed -i -E "${script#;}" $FILES
