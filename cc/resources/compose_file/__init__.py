"""A compose file as compose itself resolves it, read without compose.

`read(path, environ, project)` gives what `docker compose -f path -p project config --format json` prints, or raises
Failure bad_config with file, line and key: what it does not know it refuses, before anything is touched. Pure but for
reading the files that are named. The order is compose's own (compose-go v2.4, in Docker Compose 2.26):

    model       .env, project name, profiles, what fits together         the whole
    tree        YAML -> values with their places, variables put in       variables, env_file
    extends     a service on top of another one, also of another file
    service     each key of a service, by the kinds of its values        kinds, quantity, port, mount
    resource    networks and volumes, those that are used

Where the answer differs from compose's print, on purpose:

    a dollar sign is one    compose doubles each in its print, so that the print can be read again
    a ulimit of 0           is said; compose prints an empty mapping, and means 0
"""

from cc.resources.compose_file.model import read

__all__ = ["read"]
