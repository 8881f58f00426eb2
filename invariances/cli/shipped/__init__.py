"""Commands about what comes with the package, configs and data sets: `ls`, `cp`, `validate`, `data`."""
