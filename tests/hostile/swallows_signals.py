# Tries: ignores or catches every signal, and loops
import signal

for number in range(1, 64):
    try:
        signal.signal(number, lambda *rest: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    except (OSError, ValueError, RuntimeError):
        continue


def f(x):
    while True:
        try:
            while True:
                x += 1
        except BaseException:
            continue
