"""What belongs to a network under study: its weights, the images it takes, its layers' names and shapes."""
