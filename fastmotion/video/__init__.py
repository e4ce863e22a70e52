"""Video files through estimators, in constant memory, and the motion of the camera."""

__all__: list[str] = []
