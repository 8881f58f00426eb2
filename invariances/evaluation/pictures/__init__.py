"""What is drawn, one file for each picture."""
