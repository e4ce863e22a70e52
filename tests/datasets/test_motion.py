import numpy as np
import pytest

from fastmotion.datasets import make_motion

KINDS = ("walk", "run", "stand")
each_kind = pytest.mark.parametrize("kind", KINDS)

# Central differences of the eighth order, at offsets 1 to 4.
FIRST = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
SECOND = np.array([8 / 5, -1 / 5, 8 / 315, -1 / 560])


def differences(positions, fps):
    """Return both derivatives of (frames, ...) by high-order differences, without the ends."""
    n = len(positions)
    middle = positions[4 : n - 4]
    pairs = [(positions[4 + k : n - 4 + k], positions[4 - k : n - 4 - k]) for k in range(1, 5)]
    first = sum(c * (after - before) for c, (after, before) in zip(FIRST, pairs))
    second = sum(
        c * ((after - middle) - (middle - before)) for c, (after, before) in zip(SECOND, pairs)
    )
    return fps * first, fps**2 * second


def column(bunch, name):
    return bunch.joint_names.index(name)


def other_side(name):
    if name.startswith("left_"):
        return name.replace("left_", "right_")
    return name.replace("right_", "left_")


def limbs(bunch, positions):
    parents, joints = bunch.edges.T
    return positions[..., joints, :] - positions[..., parents, :]


@each_kind
def test_shapes_and_tree(kind):
    motion = make_motion(kind, n_sequences=3, n_frames=20, fps=50, random_state=0)
    n_joints = len(motion.joint_names)
    assert len(set(motion.joint_names)) == n_joints == 19
    for name in ("positions", "velocity", "acceleration", "observed"):
        assert motion[name].shape == (3, 20, n_joints, 3)
        assert motion[name].dtype == np.float64
        assert np.isfinite(motion[name]).all()
    assert motion.parents[0] == -1
    assert (motion.parents[1:] < np.arange(1, n_joints)).all() and (motion.parents[1:] >= 0).all()
    np.testing.assert_array_equal(
        motion.edges, np.column_stack([motion.parents[1:], np.arange(1, n_joints)])
    )
    assert motion.parents[column(motion, "left_knee")] == column(motion, "left_hip")
    assert motion.fps == 50.0 and motion.activity == kind
    assert kind in motion.DESCR


@each_kind
def test_limbs_are_rigid(kind):
    motion = make_motion(kind, n_sequences=2, n_frames=200, random_state=1)
    lengths = np.linalg.norm(limbs(motion, motion.positions), axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[:, :1], lengths.shape), rtol=1e-12)
    assert (lengths > 80).all() and (lengths < 500).all()
    assert not np.allclose(lengths[0], lengths[1], rtol=1e-3)


@each_kind
def test_derivatives_are_those_of_the_positions(kind):
    motion = make_motion(kind, n_frames=400, fps=250, random_state=2)
    velocity, acceleration = differences(motion.positions[0], motion.fps)
    for got, expected in (
        (motion.velocity[0, 4:-4], velocity),
        (motion.acceleration[0, 4:-4], acceleration),
    ):
        np.testing.assert_allclose(got, expected, atol=1e-6 * abs(expected).max())
        assert abs(expected).max() > 10


@each_kind
def test_motion_repeats_after_a_cycle(kind):
    options = {"kind": kind, "variation": 0.3, "random_state": 3}
    cadence = make_motion(n_frames=1, **options).cadence[0]
    motion = make_motion(n_frames=128, fps=64 * cadence, **options)
    before, after = motion.positions[0, :64], motion.positions[0, 64:]
    step = [motion.speed[0] / cadence, 0, 0]
    np.testing.assert_allclose(after - before, np.broadcast_to(step, before.shape), atol=1e-8)
    np.testing.assert_allclose(motion.velocity[0, :64], motion.velocity[0, 64:], atol=1e-7)
    # Not so after half a cycle.
    assert np.abs(motion.velocity[0, 32:64] - motion.velocity[0, :32]).max() > 20


@pytest.mark.parametrize("kind", ["walk", "run"])
def test_left_does_what_right_did_half_a_cycle_ago(kind):
    cadence = make_motion(kind, n_frames=1, random_state=4).cadence[0]
    motion = make_motion(kind, n_frames=64, fps=64 * cadence, random_state=4)
    other = [column(motion, other_side(name)) for name in motion.joint_names]
    swapped = motion.velocity[0][:, other] * [1, -1, 1]
    np.testing.assert_allclose(swapped[:32], motion.velocity[0, 32:], atol=1e-7)


def test_pace_and_posture_are_those_of_people():
    walk, run, stand = (
        make_motion(kind, n_sequences=20, n_frames=240, random_state=5) for kind in KINDS
    )
    assert (walk.velocity[..., 0, 0].mean(1) > 1100).all()
    assert (walk.velocity[..., 0, 0].mean(1) < 1700).all()
    assert (run.speed > 2.2 * walk.speed.mean()).all()
    assert (stand.speed == 0).all()
    assert np.sqrt((stand.velocity**2).mean()) < 30
    for motion in (walk, run, stand):
        z = motion.positions[..., 2]
        head, knee, ankle = (z[..., column(motion, n)] for n in ("head", "left_knee", "left_ankle"))
        assert (head > 1450).all() and (head < 1800).all()
        assert (knee < 800).all() and (ankle > -20).all()
        # No knee bends forward: seen from the side, it lies before the line from hip to ankle.
        hip, knee, ankle = (
            motion.positions[..., column(motion, n), :]
            for n in ("right_hip", "right_knee", "right_ankle")
        )
        thigh, shank = knee - hip, ankle - knee
        assert (thigh[..., 0] * shank[..., 2] - thigh[..., 2] * shank[..., 0] < 0.02 * 430**2).all()


def test_opposite_arm_and_leg_swing_together():
    motion = make_motion("walk", n_frames=300, random_state=6)
    x = motion.positions[0, :, :, 0] - motion.positions[0, :, :1, 0]
    foot, hand, other = (
        x[:, column(motion, n)] for n in ("left_ankle", "right_wrist", "left_wrist")
    )
    assert np.corrcoef(foot, hand)[0, 1] > 0.7
    assert np.corrcoef(foot, other)[0, 1] < -0.7


# What differs between sequences


@each_kind
def test_same_seed_same_motion(kind):
    first, second = (
        make_motion(kind, n_sequences=2, n_frames=30, noise=2, gap_fraction=0.2, random_state=7)
        for _ in range(2)
    )
    for name in ("positions", "velocity", "acceleration", "observed", "speed", "cadence"):
        np.testing.assert_array_equal(first[name], second[name])
    other = make_motion(kind, n_sequences=2, n_frames=30, random_state=8)
    assert np.abs(other.positions - first.positions).max() > 1
    assert np.abs(first.velocity[0] - first.velocity[1]).max() > 1


@each_kind
def test_a_sequence_does_not_depend_on_how_much_is_made(kind):
    options = {"noise": 2, "gap_fraction": 0.3, "random_state": 7}
    few = make_motion(kind, n_sequences=2, n_frames=25, **options)
    many = make_motion(kind, n_sequences=4, n_frames=40, **options)
    for name in ("positions", "velocity", "acceleration", "observed"):
        np.testing.assert_array_equal(few[name], many[name][:2, :25])
    assert few.observed.shape[0] == 2


def test_motion_does_not_depend_on_what_hides_it():
    clean = make_motion(n_frames=50, random_state=9)
    noisy = make_motion(n_frames=50, noise=5, random_state=9)
    both = make_motion(n_frames=50, noise=5, gap_fraction=0.5, random_state=9)
    np.testing.assert_array_equal(clean.positions, noisy.positions)
    np.testing.assert_array_equal(clean.positions, both.positions)
    np.testing.assert_array_equal(clean.observed, clean.positions)
    is_seen = ~np.isnan(both.observed)
    np.testing.assert_array_equal(both.observed[is_seen], noisy.observed[is_seen])


def test_without_variation_only_the_phase_differs():
    motion = make_motion(n_sequences=3, n_frames=200, variation=0, random_state=10)
    assert len(set(motion.cadence)) == len(set(motion.speed)) == 1
    lengths = np.linalg.norm(limbs(motion, motion.positions), axis=-1)
    np.testing.assert_allclose(lengths[0], lengths[2], rtol=1e-9)
    assert np.abs(motion.velocity[0, 0] - motion.velocity[1, 0]).max() > 10


@pytest.mark.parametrize("variation", [0.1, 0.5])
def test_variation_bounds_the_pace(variation):
    motion = make_motion(n_sequences=60, n_frames=1, variation=variation, random_state=11)
    ratio = motion.speed / 1400
    assert (abs(ratio - 1) <= variation).all()
    assert abs(ratio - 1).max() > 0.8 * variation
    assert np.corrcoef(motion.speed, motion.cadence)[0, 1] > 0.99


def test_random_state_may_be_an_instance():
    random = np.random.RandomState(0)
    first = make_motion(n_frames=2, random_state=random)
    second = make_motion(n_frames=2, random_state=random)
    assert (first.positions != second.positions).any()
    again = make_motion(n_frames=2, random_state=np.random.RandomState(0))
    np.testing.assert_array_equal(first.positions, again.positions)


# What is observed


def test_noise_is_white_and_of_its_size():
    motion = make_motion(n_sequences=4, n_frames=2000, noise=3.0, random_state=12)
    noise = motion.observed - motion.positions
    assert noise.std() == pytest.approx(3, rel=0.01)
    assert abs(noise.mean()) < 0.03
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.05
    assert abs((noise[0] * noise[1]).mean()) < 0.1


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5, 0.9])
def test_gaps_have_their_share_everywhere(fraction):
    motion = make_motion(
        "stand", n_sequences=40, n_frames=300, gap_fraction=fraction, random_state=13
    )
    is_missing = np.isnan(motion.observed)
    assert (is_missing == is_missing[..., :1]).all()
    is_missing = is_missing[..., 0]
    assert is_missing.mean() == pytest.approx(fraction, rel=0.06)
    assert is_missing[:, :5].mean() == pytest.approx(fraction, rel=0.35)
    assert is_missing[:, -5:].mean() == pytest.approx(fraction, rel=0.35)
    assert not np.isnan(motion.positions).any()


def test_gaps_last_up_to_nine_frames():
    motion = make_motion("stand", n_sequences=20, n_frames=500, gap_fraction=0.01, random_state=14)
    edges = np.diff(np.isnan(motion.observed[..., 0]).astype(int), axis=1)
    lengths = []
    for track in np.moveaxis(edges, 1, -1).reshape(-1, edges.shape[1]):
        begins, ends = np.flatnonzero(track == 1), np.flatnonzero(track == -1)
        lengths += [ends[ends > begin][0] - begin for begin in begins if (ends > begin).any()]
    counts = np.bincount(lengths, minlength=10)[1:10]
    assert counts.min() > 0.5 * counts.mean()
    assert np.mean(np.array(lengths) > 9) < 0.06


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "jump"}, r"kind must be one of \['walk', 'run', 'stand'\], got 'jump'"),
        ({"n_sequences": 0}, "n_sequences must be at least 1, got 0"),
        ({"n_frames": -3}, "n_frames must be at least 1, got -3"),
        ({"fps": 0}, "fps must be a positive number"),
        ({"fps": np.inf}, "fps must be a positive number"),
        ({"fps": np.nan}, "fps must be a positive number"),
        ({"variation": -0.1}, "variation must be a number from 0 to 0.5"),
        ({"variation": 0.6}, "variation must be a number from 0 to 0.5"),
        ({"noise": -1}, "noise must be a number of mm, zero or more, got -1"),
        ({"noise": np.inf}, "noise must be a number of mm"),
        ({"gap_fraction": 1}, r"gap_fraction must be .*\[0, 1\), got 1"),
        ({"gap_fraction": -0.1}, "gap_fraction must be"),
        ({"gap_fraction": np.nan}, "gap_fraction must be"),
    ],
)
def test_values_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_motion(**options)


@pytest.mark.parametrize("options", [{"n_sequences": 2.0}, {"n_frames": "10"}])
def test_counts_that_are_no_integers(options):
    with pytest.raises(TypeError, match="must be an integer"):
        make_motion(**options)
