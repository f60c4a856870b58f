"""What is fast and bound to hardware or to private operations; `switch.py` turns it off."""
