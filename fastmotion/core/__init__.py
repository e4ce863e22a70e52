"""What every family stands on: configuration, compilation, devices, checks, random numbers.

Nothing here knows an algorithm, and nothing here is imported before it is needed:
``import fastmotion`` loads `fastmotion.core.config` alone.
"""
