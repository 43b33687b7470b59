# Tries: leaves programs started by a shell
import subprocess


def f(x):
    for _ in range(5):
        try:
            subprocess.Popen(["sh", "-c", "trap '' TERM HUP; sleep 61 # ledex-hostile"], start_new_session=True)
        except OSError:
            break
    return 0
