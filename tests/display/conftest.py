import pytest

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture(autouse=True)
def closed_figures():
    """Draw without a screen, and close what a test has opened."""
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")
