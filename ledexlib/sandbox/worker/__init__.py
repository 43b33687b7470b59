"""The trusted worker: runs the tests against proxies of the program. Standard library only; nothing of ``host``."""
