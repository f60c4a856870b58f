"""Speed, each beside a peer in the same run; the scripts run by their paths."""
