"""The layers that flows consist of: each is a bijection with its log-determinant."""
