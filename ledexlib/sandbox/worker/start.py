"""The script with which ``host.worker_process`` starts a worker; ``bootstrap`` has its arguments and does the rest.

It loads the package under a stub: the package's own ``__init__`` would load the host's modules, and a place in
``sys.path`` would let programs import the sandbox's. It is short because a script's bytecode is not kept.
"""

import os
import sys
import types

stub = types.ModuleType("_sandbox")
stub.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
sys.modules["_sandbox"] = stub

if __name__ == "__main__":
    from _sandbox.worker import bootstrap

    bootstrap.main()
