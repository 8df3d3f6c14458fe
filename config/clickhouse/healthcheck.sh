#!/bin/sh
# Is the server ready? Run by Docker in the container, again and again. Plain sh, and a wget of GNU or of busybox.
#
# A young container is asked at once, since somebody waits for it; an older one after a rest, since each check costs
# a process started from outside, which at every half second is some 5 % of a core for ever.
set -eu
young_s=30 rest_s=9

read -r up _ </proc/uptime
read -r stat </proc/1/stat
# shellcheck disable=SC2086 # fields, wanted; what precedes ") " may hold spaces
set -- ${stat##*) }
age_s=$((${up%.*} - ${20} / 100)) # ticks since boot; a second is 100 ticks on Linux, as programs see it
[ "$age_s" -lt "$young_s" ] || sleep "$rest_s"

# By the container's own name, not by localhost: on the first start the image runs a server that listens on the
# loopback address only, makes the database and goes away again. That one must not pass for ready.
read -r name </etc/hostname
# `timeout`, because wget's own -T crashes in Debian's static busybox.
exec timeout 3 wget -q -t 1 -O /dev/null "http://$name:8123/ping"
