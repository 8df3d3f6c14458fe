"""How gunicorn serves the dashboard (L4 rung 0): `gunicorn -c python:cc.dashboard.gunicorn_conf`.

A module and not flags: gunicorn passes over settings that its version does not know, and refuses such flags.
"""

workers = 4
# Threads, so that a page that waits for a store that hangs doesn't keep /healthz waiting, which would make the
# dashboard look dead. Many, because a worker accepts more connections than it has threads free. They start on demand.
threads = 16
preload_app = True  # one import for all of them, its memory shared
timeout = 60  # seconds without a sign from a worker: a first read of a large history is long
graceful_timeout = 3  # seconds for a request under way when it is stopped
accesslog = None
errorlog = "-"
loglevel = "warning"
control_socket_disable = True  # its socket would be one for all projects of a user, and outlive a kill
