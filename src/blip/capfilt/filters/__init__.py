"""What is asked of a text beside a match; each rule is off unless asked for."""
