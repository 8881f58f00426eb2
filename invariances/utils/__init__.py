"""What several rooms stand on: files, downloads, images, names, checkpoint files."""
