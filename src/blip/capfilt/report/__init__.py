"""The page that shows what a job did."""
