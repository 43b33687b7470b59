"""What processes send each other, and what more than one of them loads to do so. Standard library only."""
