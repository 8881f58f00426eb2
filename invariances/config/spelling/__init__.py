"""Misspelt names in a config, told before anything heavy is imported: a check in a fraction of a second.

Torch and Lightning take seconds to import, and the complete check of `invariances.config.checking` needs them for the
signatures of the classes. Here the names of arguments are read from the source of this package's own classes instead;
values, and classes of others, are left to the complete check.
"""

from invariances.config.spelling.misspelt import refuse_misspelt

__all__ = ["refuse_misspelt"]
