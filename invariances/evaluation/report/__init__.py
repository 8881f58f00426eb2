"""The page `report.html` on one or several evaluated runs."""
