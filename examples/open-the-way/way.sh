#!/bin/sh
# Opens a service for the line that this computer is on, by IPv4 and by IPv6: way.sh [SERVICE [DURATION]]
set -eu
portal=${SAFEIP_PORTAL:-https://open.example.org:8443}
token=${SAFEIP_TOKEN_FILE:-$HOME/.config/safeip-token}
body=${2:+"{\"for\": \"$2\"}"}

opened=
for family in --ipv4 --ipv6; do
    # the token through a pipe: everybody on this computer can read a program's arguments
    if printf 'Authorization: Bearer %s\n' "$(cat "$token")" |
        curl "$family" --silent --show-error --fail-with-body --max-time 10 --request PUT --header @- \
            --json "${body:-{\}}" "$portal/api/v1/grants/${1:-cloud}/self"; then
        opened=yes
    fi
    echo
done
[ -n "$opened" ]
