#!/bin/sh
# Stops all that one project of Context Cleaner runs, without Python: processes by their mark, containers by their label.
#
#   scripts/stop-context-cleaner.sh          CC_PROJECT and CC_HOME say which; the defaults are those of `invoke up`
#
# Ours is what carries CC_OWNER=<project>:<id of the home> in its environment, and belongs to this user. Nothing else is
# touched. Data in volumes stays. Exit codes: 0 nothing of ours is left, 1 something is or may be (it is named), 2 wrong
# usage. Where docker is not installed the processes alone are looked at, and that is said.
set -u

GRACE_S=5
ANSWER_S=60

case ${1:-} in
  '') ;;
  -h | --help)
    sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p;}' "$0"
    exit 0
    ;;
  *)
    echo "usage: $0 [--help]" >&2
    exit 2
    ;;
esac

project=${CC_PROJECT:-context-cleaner}
home=${CC_HOME:-${HOME:?set HOME or CC_HOME}/.context_cleaner}
case $project in
  *[!a-z0-9_-]* | [!a-z0-9]*)
    echo "CC_PROJECT: '$project' is no project name" >&2
    exit 2
    ;;
esac
real=$(cd "$home" 2>/dev/null && pwd -P) || real=$home
if command -v sha256sum >/dev/null 2>&1; then
  id=$(printf %s "$real" | sha256sum | cut -c1-12)
else
  id=$(printf %s "$real" | shasum -a 256 | cut -c1-12)
fi
owner=$project:$id
me=$(id -u)

# Field 6 of /proc/PID/stat is the session, 22 the start time, 3 the state; the name before them may hold anything.
stat_of() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null; }
session_of() { stat_of "$1" | cut -d' ' -f4; }

ours_by_mark() {
  own_session=$(session_of $$)
  for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    [ "$(stat -c %u "$folder" 2>/dev/null)" = "$me" ] || continue
    tr '\0' '\n' 2>/dev/null <"$folder/environ" | grep -qxF "CC_OWNER=$owner" || continue
    [ "$(session_of "$pid")" != "$own_session" ] || continue # ourselves, and what runs us
    case $(stat_of "$pid") in Z*) continue ;; esac
    echo "$pid"
  done
}

# Where there is no /proc (macOS) the pid files are all there is: "PID START_TIME", and ps tells the start time.
ours_by_pid_file() {
  for file in "$real/$project/run/"*.pid; do
    [ -f "$file" ] || continue
    read -r pid started <"$file" || continue
    told=$(LC_ALL=C TZ=UTC ps -o lstart= -p "$pid" 2>/dev/null) || continue
    now=$(LC_ALL=C TZ=UTC date -j -f '%a %b %d %T %Y' "$told" +%s 2>/dev/null) || continue
    [ "$now" = "$started" ] && echo "$pid"
  done
}

ours() {
  if [ -d /proc/self ]; then ours_by_mark; else ours_by_pid_file; fi
}

stop_processes() {
  pids=$(ours)
  [ -n "$pids" ] || return 0
  for pid in $pids; do
    echo "ending $(ps -o pid=,comm= -p "$pid")"
    kill -TERM "$pid" 2>/dev/null
    kill -CONT "$pid" 2>/dev/null # one that is stopped can't hear the other
  done
  waited=0
  while [ "$waited" -lt $((GRACE_S * 10)) ] && [ -n "$(ours)" ]; do
    sleep 0.1
    waited=$((waited + 1))
  done
  for pid in $(ours); do
    echo "killing $(ps -o pid=,comm= -p "$pid")"
    kill -KILL "$pid" 2>/dev/null
  done
}

docker_() {
  if command -v timeout >/dev/null 2>&1; then timeout "$ANSWER_S" docker "$@"; else docker "$@"; fi
}

containers() { docker_ ps -aq --filter "label=com.docker.compose.project=$project" --filter "label=cc.owner=$owner"; }

left=''    # what is there still
unasked='' # why Docker could not be asked
silent=''  # it is there, and does not answer: that proves nothing
stop_containers() {
  if ! command -v docker >/dev/null 2>&1; then
    unasked="docker is not installed"
    return
  fi
  if ! found=$(containers); then
    unasked="docker does not answer" silent=1
    return
  fi
  if [ -n "$found" ]; then
    # shellcheck disable=SC2086 # ids, one word each
    docker_ stop -t 10 $found
    # shellcheck disable=SC2086
    docker_ rm -f $found
  fi
  for network in $(docker_ network ls -q --filter "label=com.docker.compose.project=$project"); do
    docker_ network rm "$network"
  done
  if ! found=$(containers); then
    unasked="docker does not answer any more" silent=1
  elif [ -n "$found" ]; then
    left=" containers $found"
  fi
}

stop_processes
stop_containers
for pid in $(ours); do left="$left process $pid"; done
[ -z "$left" ] || echo "still there:$left" >&2
if [ -n "$unasked" ]; then
  echo "Docker could not be asked ($unasked): containers of project $project may still run" >&2
fi
[ -z "$left$silent" ] || exit 1
if [ -n "$unasked" ]; then
  echo "no process of project $project is left"
else
  echo "nothing of project $project is left"
fi
