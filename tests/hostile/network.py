# Tries: connects and listens
import socket


def f(x):
    for address in (("1.1.1.1", 53), ("127.0.0.1", 22)):
        try:
            with socket.socket() as client:
                client.settimeout(0.2)
                client.connect(address)
        except OSError:
            continue
    try:
        server = socket.create_server(("127.0.0.1", 0))
        return server.getsockname()[1]
    except OSError:
        return 0
