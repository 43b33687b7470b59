# Tries: leaves a process of a session of its own that writes a file later
import os
import tempfile
import time


def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(2)
            for folder in ("/tmp", tempfile.gettempdir(), "/var/tmp"):
                try:
                    open(os.path.join(folder, "ledex-hostile-late"), "w").close()
                except OSError:
                    continue
            time.sleep(60)
        os._exit(0)
    return 0
