# Tries: returns bytes and code objects that are dangerous to load
import marshal
import pickle


def f(x):
    return [pickle.dumps(print), marshal.dumps(f.__code__), f.__code__, b"[\xff\xff\xff\x7f", "[\u00ff"]
