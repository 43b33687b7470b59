"""ledexlib: the library behind the LeDex notebooks (collect, verify, reward, train, evaluate)."""

__version__ = "0.1.0"
