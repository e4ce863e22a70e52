"""What is taken as matches, points, matrices and cameras, and what errors say of the rest."""

import numpy as np
import pytest

from fastmotion.epipolar import checks

ROWS = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


@pytest.mark.parametrize(
    "X",
    [
        ROWS,
        np.array(ROWS),
        np.array(ROWS, np.uint8),
        np.array(ROWS, np.float32),
        np.asfortranarray(np.array(ROWS, float)),
        np.array(ROWS, float)[::-1][::-1],
    ],
    ids=["list", "int", "uint8", "float32", "fortran", "strided"],
)
def test_matches_of_many_kinds(X):
    matches, is_valid = checks.check_matches(X)
    assert matches.dtype == np.float64
    assert matches.flags.c_contiguous
    np.testing.assert_array_equal(matches, ROWS)
    assert is_valid.dtype == bool
    assert is_valid.tolist() == [True] * 3


def test_points_of_two_images_are_matches():
    rows = np.array(ROWS)
    matches, _ = checks.check_matches(rows[:, :2], rows[:, 2:].tolist())
    np.testing.assert_array_equal(matches, ROWS)


def test_frames_of_pandas_are_matches():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(ROWS, columns=["x1", "y1", "x2", "y2"])
    np.testing.assert_array_equal(checks.check_matches(frame)[0], ROWS)
    matches, _ = checks.check_matches(frame[["x1", "y1"]], frame[["x2", "y2"]])
    np.testing.assert_array_equal(matches, ROWS)


def test_float64_is_not_copied_and_not_changed():
    X = np.array(ROWS, float)
    X.flags.writeable = False
    matches, _ = checks.check_matches(X)
    assert matches is X


def test_no_matches_are_matches_unless_some_are_needed():
    matches, is_valid = checks.check_matches(np.empty((0, 4)))
    assert matches.shape == (0, 4)
    assert is_valid.shape == (0,)
    with pytest.raises(ValueError, match="X must hold at least 7 matches, got 0$"):
        checks.check_matches(np.empty((0, 4)), min_matches=7)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200, -1e31])
def test_rows_that_are_not_finite(bad):
    X = np.array(ROWS, float)
    X[1, 2] = bad
    X[2, 0] = bad
    message = r"2 of 3 rows that are not, the first of them row 1: \[5.*nan_policy='omit'"
    with pytest.raises(ValueError, match=message):
        checks.check_matches(X)
    matches, is_valid = checks.check_matches(X, nan_policy="omit")
    np.testing.assert_array_equal(matches, ROWS[:1])
    assert is_valid.tolist() == [True, False, False]
    with pytest.raises(ValueError, match="at least 2 matches, got 1 after 2 of 3 rows were omi"):
        checks.check_matches(X, nan_policy="omit", min_matches=2)


def test_large_coordinates_are_taken():
    X = np.full((1000, 4), 9e29)
    matches, is_valid = checks.check_matches(X)
    assert matches is X
    assert is_valid.all()


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((3, 3)), None, r"X must have shape \(n, 4\).*got shape \(3, 3\)"),
        (np.ones(4), None, r"got shape \(4,\)"),
        ([], None, r"got shape \(0,\)"),
        (np.ones((3, 2)), None, "points of both images"),
        (np.ones((3, 4)), np.ones((3, 2)), "go without y"),
        (np.ones((3, 2)), np.ones((4, 2)), r"got \(3, 2\) and \(4, 2\)"),
        ([[1, 2, 3, 4], [1, 2]], None, "rectangular"),
    ],
)
def test_wrong_shapes(X, y, message):
    with pytest.raises(ValueError, match=message):
        checks.check_matches(X, y)


@pytest.mark.parametrize(
    "X",
    [
        np.ones((3, 4), complex),
        np.array(ROWS, str),
        np.array(ROWS, object),
        np.ma.masked_equal(np.array(ROWS), 5),
    ],
    ids=["complex", "string", "object", "masked"],
)
def test_wrong_kinds(X):
    with pytest.raises(TypeError, match=r"^matches "):
        checks.check_matches(X, name="matches")


def test_wrong_policy():
    with pytest.raises(ValueError, match="nan_policy must be 'raise' or 'omit', got 'drop'"):
        checks.check_matches(ROWS, nan_policy="drop")


def test_points():
    points = checks.check_points([[1, 2], [3, 4]])
    assert points.dtype == np.float64
    np.testing.assert_array_equal(points, [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match=r"one point is points\[numpy.newaxis\]"):
        checks.check_points([1, 2])
    with pytest.raises(ValueError, match=r"shape \(n, 2\), rows x y, got \(2, 3\)$"):
        checks.check_points(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"1 of 2 rows that are not, .* row 1: \[3.0, nan\]"):
        checks.check_points([[1, 2], [3, np.nan]])


def test_matrices():
    assert checks.check_matrix([[1, 2, 3]], (1, 3), "A").dtype == np.float64
    with pytest.raises(ValueError, match=r"A must have shape \(3,\), got \(1, 3\)"):
        checks.check_matrix([[1, 2, 3]], (3,), "A")
    with pytest.raises(ValueError, match="A must be finite, got"):
        checks.check_matrix([1, 2, np.nan], (3,), "A")


def test_fundamental():
    F = np.diag([1.0, 1.0, 0.0])
    assert checks.check_fundamental(F) is F
    with pytest.raises(ValueError, match="F must not be zero"):
        checks.check_fundamental(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"F must have shape \(3, 3\), got \(9, 3\)"):
        checks.check_fundamental(np.ones((9, 3)))


def test_intrinsics():
    K = np.array([[500.0, 1.0, 320.0], [0.0, 510.0, 240.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(checks.check_intrinsics(-2 * K), K)
    with pytest.raises(ValueError, match="K1 must have a last row proportional to 0 0 1.*transp"):
        checks.check_intrinsics(K.T, "K1")
    with pytest.raises(ValueError, match="K must be invertible"):
        checks.check_intrinsics(np.diag([500.0, 0.0, 1.0]))


def test_rotation():
    c, s = np.cos(0.3), np.sin(0.3)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert checks.check_rotation(R) is R
    checks.check_rotation(R.astype(np.float32))
    with pytest.raises(ValueError, match="determinant -1"):
        checks.check_rotation(-R)
    with pytest.raises(ValueError, match="R must be a rotation.*away from the identity"):
        checks.check_rotation(1.01 * R)


@pytest.mark.parametrize("image", [0, 3, True, "1", None])
def test_wrong_image_number(image):
    with pytest.raises(ValueError, match="image must be 1 or 2, got"):
        checks.check_image_number(image)


def test_image_size():
    assert checks.check_image_size(np.array([640, 480])) == (640, 480)
    with pytest.raises(ValueError, match=r"size must be \(width, height\), got 640"):
        checks.check_image_size(640, "size")
    with pytest.raises(ValueError, match=r"image_size must be positive, got \(640, 0\)"):
        checks.check_image_size((640, 0))
    with pytest.raises(TypeError, match="image_size must be two integers"):
        checks.check_image_size((640.0, 480.0))
