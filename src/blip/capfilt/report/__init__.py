"""report.html, the page that shows what a job did, and measures of its quality."""
