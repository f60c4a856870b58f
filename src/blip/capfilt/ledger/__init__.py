"""What CapFilt found of every text, in memory and as Parquet."""
