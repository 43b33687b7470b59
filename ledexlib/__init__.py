"""ledexlib: the library behind the LeDex notebooks (collect, verify, reward, train, evaluate)."""

import os
import warnings

# Threads of torch that wait for each other would spin; where the cores are shared, that makes a small model several
# times slower. It is read when torch is first imported, and an outer setting is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# tqdm asks for widgets, which no rendered page shows.
warnings.filterwarnings("ignore", message="IProgress not found")

__version__ = "0.1.0"
