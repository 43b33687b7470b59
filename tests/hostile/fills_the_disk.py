# Tries: writes files until there is no room (here no more than 300 MB)
import os
import tempfile


def f(x):
    for number in range(300):
        for folder in (".", tempfile.gettempdir(), "/tmp", "/dev/shm"):
            try:
                with open(os.path.join(folder, f"ledex-hostile-{number}"), "wb") as file:
                    file.write(bytes(1 << 18))
            except OSError:
                continue
    return 0
