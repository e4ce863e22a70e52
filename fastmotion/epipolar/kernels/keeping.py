"""The best few models that searches have found so far."""

from fastmotion.core.compile import cpu_function


@cpu_function
def keep(model, gain, models, gains):
    """Put a model into its place among the best, which drops the last of them."""
    place = len(gains) - 1
    while place > 0 and gain > gains[place - 1]:
        gains[place] = gains[place - 1]
        for k in range(9):
            models[place, k] = models[place - 1, k]
        place -= 1
    gains[place] = gain
    for k in range(9):
        models[place, k] = model[k]
