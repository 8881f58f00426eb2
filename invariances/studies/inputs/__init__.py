"""What a study is about: the images, the network, and its layers."""
