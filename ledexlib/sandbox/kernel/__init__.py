"""What is asked of the operating system: isolation, limits, clocks. Standard library only; no other sub-room."""
