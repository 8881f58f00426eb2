"""What is measured, one file or folder for each metric."""
