"""The fork server and the program's process. Standard library only; nothing of ``host`` or ``worker``."""
