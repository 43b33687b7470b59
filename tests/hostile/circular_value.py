# Tries: returns a list that contains itself
def f(x):
    value = [x]
    value.append(value)
    return {"a": value, "b": (value,)}
