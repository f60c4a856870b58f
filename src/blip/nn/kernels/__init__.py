"""Fast kernels that need certain hardware or private operations; `switch.py` turns them off."""
