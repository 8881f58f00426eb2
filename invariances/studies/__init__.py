"""Whole studies: one's own network on one's own images, from a plan to a report.

- `request`: what the user asks for.
- `inputs/pictures_given`: the images, split into training and validation.
- `inputs/network_given`: the network under study, its input and its accuracy on the images.
- `inputs/layer_choice`: at which layers it is split.
- `quality`: sizes and lengths of the trainings.
- `recipes`: one plain config for each training.
- `timing`: what the trainings will take, from a few measured steps.
- `planning`: all of these together, as `study.yaml`.
- `findings`: what to tell about the results, with one table of thresholds.
- `steps`, `execution`: the trainings as processes, or one by one in this one.
- `facade`: `invariances.study`, for notebooks.
"""
